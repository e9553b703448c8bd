"""What can break in `deploy/local/matrix` without a server: its rows, its table, its folders."""

import shutil
import subprocess
from pathlib import Path

import pytest

import local_programs
from local_errors import StackError
from tests.matrix.debian_releases import relocate
from tests.matrix.run import plan, read_log, title

_DEBIAN_12 = {"rabbitmq": "3.10.8", "postgresql": "15.18", "python": "3.11.7", "packages": "locked"}
_PAGE = Path(__file__).parents[2] / "deploy/VERSIONS.md"


def test_the_base_stands_for_each_version_that_it_has() -> None:
    rows = plan(_DEBIAN_12)
    assert rows[0] == "base"
    assert len(rows) == 11
    assert not {"rabbitmq=3.10", "postgresql=15", "python=3.11"} & set(rows)
    assert "python=3.1" not in plan(_DEBIAN_12 | {"python": "3.1.4"})


@pytest.mark.parametrize(
    ("only", "rows"),
    [
        (["rabbitmq=4.0"], ["rabbitmq=4.0"]),
        (["rabbitmq=3.10"], ["base"]),
        (["base", "python=3.11"], ["base"]),
        (["rabbitmq"], ["base", "rabbitmq=4.0", "rabbitmq=4.3"]),
    ],
)
def test_only_chooses_rows(only: list[str], rows: list[str]) -> None:
    assert plan(_DEBIAN_12, only) == rows


def test_a_row_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(StackError, match=r"no row rabbitmq=9; there are base, .*rabbitmq=4\.3"):
        plan(_DEBIAN_12, ["rabbitmq=9"])


def test_the_table_hides_nothing_that_failed_or_was_skipped() -> None:
    counts = "2 failed, 1 passed, 1 skipped"
    summary = "FAILED tests/a.py::test_b - assert 0\nERROR tests/a.py::test_c - boom\n"
    skipped = "SKIPPED [1] tests/sql/test_roles.py:9: no root\n"
    said, notes = read_log(f"..F\n{summary}{skipped}{counts} in 61.20s (0:01:01)\n")
    assert said == counts
    assert notes == [
        "failed: tests/a.py::test_b",
        "failed: tests/a.py::test_c",
        "skipped [1] tests/sql/test_roles.py:9: no root",
    ]


def test_the_page_has_each_row_of_the_matrix() -> None:
    page = _PAGE.read_text()
    assert [row for row in plan(_DEBIAN_12) if f"| {title(row)} |" not in page] == []


def test_an_unpacked_program_runs_on_its_own_loader(tmp_path: Path) -> None:
    machine = Path("/bin/echo")
    loader = next(Path("/").glob("lib*/ld-linux-*")).resolve()
    for source, target in ((machine, "usr/bin/echo"), (loader, f"usr/lib/{loader.name}")):
        (tmp_path / target).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / target).write_bytes(source.read_bytes())
        (tmp_path / target).chmod(0o755)
    relocate(tmp_path)
    echo = tmp_path / "usr/bin/echo"
    assert str(tmp_path / f"usr/lib/{loader.name}") in echo.read_text()
    assert subprocess.check_output([echo, "a b"], text=True) == "a b\n"


def test_a_named_folder_comes_before_the_machines_own_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("psql", "rabbitmq-server"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv(local_programs.FOLDERS, f"/nowhere:{tmp_path}")
    assert local_programs.program("psql") == str(tmp_path / "psql")
    assert local_programs.program("rabbitmq-server") == str(tmp_path / "rabbitmq-server")
    assert local_programs.program("sh") == shutil.which("sh")
    assert local_programs.search_path().startswith(f"/nowhere:{tmp_path}:")
