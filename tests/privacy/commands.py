"""Commands and the console, as people use them: whom they name is in files, never in arguments."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import uuid
from itertools import count
from pathlib import Path

import requests

from tests.e2e.every_command import ended
from tests.e2e.harness import COMMAND
from tests.privacy.canaries import Canary
from tests.privacy.system import PATIENCE, PYTHON, Job, Site, eventually


def use_commands_about_people(site: Site) -> None:
    """Submit, check, look up, reconcile: with people that pass the checks and that do not."""
    given = site.system.given
    one, broken, *many = site.system.people.invent_many("commanded", 14)
    files = {
        "one.json": json.dumps(one.request(3), ensure_ascii=False),
        "broken.json": json.dumps(broken.request(0), ensure_ascii=False)[:-3],
        "people.csv": _table(many[:4], wrong=many[4]),
        "headless.csv": _table(many[5:7], wrong=many[7]).partition("\n")[2],
        "people.jsonl": _lines(many[8:10], wrong=many[10]),
    }
    for name, text in files.items():
        (given / name).write_text(text, encoding="utf-8")
    (given / "other.csv").write_bytes(_table(many[11:12], wrong=one).encode("gb18030"))
    _run(
        site,
        (0, "submit one.json"),
        (2, "submit broken.json"),
        (1, "submit people.csv --results results.csv"),
        (2, "submit headless.csv"),
        (2, "submit other.csv"),
        (1, "submit people.jsonl"),
        (1, "contract validate people.jsonl"),
        (1, "contract validate broken.json"),
        (0, f"explain {one.label}"),
        (0, f"explain {one.label} --json"),
        (0, "status"),
        (0, "status --json"),
        (0, "requests list"),
        (0, "requests list --json"),
        (0, "outbox list --json"),
        (0, "check-config"),
        (0, "check-config --json"),
        (0, "digest", f"{one.id_card}\n"),
        (2, "digest", f"{broken.id_card[:-1]}\n{broken.name}\n"),
        (2, "submit -", f"{broken.name} {broken.id_card}"),
        (0, "erase --yes --json", f"{one.id_card}\n"),
        (2, "erase --yes", f"{broken.id_card[:-1]}\n{broken.name}\n"),
    )
    (given / "invoice.csv").write_text(_invoice(site, many), encoding="utf-8")
    _run(
        site,
        (1, "reconcile invoice.csv"),
        (1, "reconcile invoice.csv --json"),
        (2, "reconcile invoice.csv --column-time when"),
        (0, "retention --json"),
        CLEAR_AFTER_DAYS="1",
        DELETE_AFTER_DAYS="20",
    )


def use_dead_letters(site: Site) -> None:
    """List, show, replay and drop dead letters about people."""
    job = _run(
        site,
        (0, "dead-letters list"),
        (0, "dead-letters list --json"),
        (0, "dead-letters show unreadable-0"),
        (0, "dead-letters show unreadable-0 --json"),
        (1, "dead-letters show nobody"),
        (2, "dead-letters replay"),
        (0, "dead-letters replay --dry-run --json"),
        (0, "dead-letters replay --yes --limit 9 --json"),
    )
    assert "unreadable-0" in job.out.read_text()
    eventually(lambda: site.depth("verification.requests") == 0)
    _run(site, (0, "dead-letters drop --yes --reason not_json --json"))


def submit_encrypted(site: Site, name: str, people: list[Canary]) -> str:
    """Make keys whose public ones are a file of this name, submit people to them, return them."""
    public, lines = site.system.given / f"{name}.json", site.system.given / f"{name}.jsonl"
    keys = _run(site, (0, "message-keys generate")).out.read_text()
    shown = _run(site, (0, "message-keys public"), MESSAGE_KEYS=keys)
    public.write_text(shown.out.read_text())
    lines.write_text("\n".join(json.dumps(each.request(n)) for n, each in enumerate(people)))
    _run(site, (0, f"submit {lines.name} --encrypt-to {public.name} --timeout 0"))
    return keys


_Command = tuple[int, str] | tuple[int, str, str]
"""The code with which it must end, its arguments with blanks between, and what it is given."""


def _run(site: Site, *commands: _Command, **settings: str) -> Job:
    """Run commands one after another in one process, and check how each ends.

    Names of files in given/ are completed.
    """
    folder = site.system.given
    lines = [
        [[str(folder / x) if (folder / x).exists() else x for x in words.split()], "".join(given)]
        for _, words, *given in commands
    ]
    environment = {**site.environment, **settings}
    program = [*PYTHON, "tests.privacy.commands"]
    file = folder / f"commands-{site.name}-{uuid.uuid4().hex}"
    file.write_text(json.dumps(lines))
    job = site.system.run("command", [*program, str(file)], environment)
    code, said = job.popen.wait(PATIENCE), job.err.read_text()
    assert (code, "Traceback" in said) == (0, False), said
    codes = json.loads(file.read_text())
    assert codes == [code for code, *_ in commands], said
    return job


def _carry_out(file: Path) -> None:
    """Run the commands in a file, and leave the codes with which they ended there."""
    codes = []
    for arguments, given in json.loads(file.read_text()):
        while True:
            said = len(Path("/proc/self/fd/2").read_bytes())
            code = ended(arguments, given)
            # A busy broker counts the consumer of the command before, or of this one's first look.
            if b"another tool holds" not in Path("/proc/self/fd/2").read_bytes()[said:]:
                break
        codes.append(code)
    file.write_text(json.dumps(codes))


def _table(people: list[Canary], wrong: Canary) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["requestId", "checkType", "name", "idCard", "bankcard", "mobile"])
    for each in people:
        writer.writerow([each.label, 0, each.name, each.id_card, each.bankcard, each.mobile])
    writer.writerow([wrong.label, 2, wrong.id_card, wrong.name])
    writer.writerow([wrong.label, 0, wrong.name, wrong.mobile, wrong.id_card, wrong.bankcard])
    return text.getvalue()


def _lines(people: list[Canary], wrong: Canary) -> str:
    lines = [json.dumps(each.request(4), ensure_ascii=False) for each in people]
    lines += [f"{wrong.name} {wrong.id_card}", json.dumps([wrong.user(0)], ensure_ascii=False)]
    lines += [json.dumps({**wrong.request(0), wrong.name: wrong.mobile, wrong.mobile: 1})]
    return "\n".join(lines)


def _invoice(site: Site, people: list[Canary]) -> str:
    """Return an invoice that names people where it should name calls, too."""
    query = "SELECT * FROM verification_v1.calls WHERE request_id = 'commanded-0'"
    (call,) = site.rows(query)
    time = call["started_at"].isoformat()
    lines = ["requestId,time,person", f"{call['provider_request_id']},{time},{people[0].name}"]
    for each in people:
        lines += [f"{each.id_card},{time},{each.name}", f"{each.name},{each.mobile},x"]
        lines += [f"{each.bankcard},{each.id_card},{each.name},{each.mobile}"]
    return "\n".join(lines) + "\n"


# The console: each page that is opened is kept beside its log, to be searched

_PAGES = ("/", "/?lang=zh", "/requests", "/dead-letters", "/unrouted", "/pause")


def look_at_the_console(site: Site, known: Canary, unknown: Canary) -> None:
    """Open each page, and each dead letter; look persons up; replay, with a slip on the way."""
    options = ["--port", "0", "--allow-actions", "--user-header", "X-User"]
    job = site.system.run("console", [*COMMAND, "console", *options], site.environment)
    url = json.loads(eventually(lambda: job.said("console.listening")))["url"].rstrip("/")
    session, numbers = requests.Session(), count()
    session.headers["X-User"] = "mei.lin"

    def look(path: str, **form: str) -> str:
        def answer() -> list[requests.Response]:
            send = session.post if form else session.get
            found = send(url + path, data=form or None, timeout=PATIENCE)
            return [] if found.status_code == 503 else [found]  # another holds the letters

        (found,) = eventually(answer)
        page = f"{found.url} {found.headers} {found.text}"
        file = site.system.root / "logs" / f"console-page-{site.name}-{next(numbers)}.html"
        file.write_text(page, encoding="utf-8")
        assert found.status_code < 500
        return page

    pages = "".join(map(look, _PAGES))
    letters = re.findall(r"\?letter=\w+", look("/dead-letters?group=not_json"))
    for one in re.findall(r"\?letter=\w+", pages)[:20] + letters[:10]:
        look(f"/dead-letters{one}")
    token = re.findall(r'name="token" value="(\w+)"', pages)[0]
    assert known.label in look("/find", token=token, what=known.id_card)
    for what in (unknown.id_card, unknown.id_card[:-1], unknown.mobile, f"{unknown.name} "):
        look("/find", token=token, what=what)
    look("/pause", token=token, reason=f"for {unknown.id_card}")
    look(f"/request?id={known.label}")
    plan = re.findall(
        r'name="plan" value="([\w-]+)"', look("/dead-letters/plan?verb=drop&group=not_an_object")
    )
    look("/dead-letters/act", token=token, plan=plan[0])
    eventually(lambda: job.said("console.action"))
    assert job.stop() == 0


if __name__ == "__main__":
    _carry_out(Path(sys.argv[1]))
