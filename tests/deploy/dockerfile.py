"""What deploy/Dockerfile does, done in a folder: there is no Docker where the tests run.

The instructions are the file's own and are carried out one by one: COPY takes what .dockerignore
lets into a build, RUN runs its command through a shell. Only /opt, /build and /srv are elsewhere,
below `root`, and the base image is this machine's Python.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from string import Template

from tests.deploy.manifests import CHECKOUT

DOCKERFILE = CHECKOUT / "deploy" / "Dockerfile"

_PLACES = re.compile(r"(?<![\w./])/(?=(?:opt|build|srv)\b)")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its word in capitals, and the rest on one line."""

    word: str
    rest: str


def instructions() -> list[Instruction]:
    """Return the Dockerfile's instructions in order."""
    lines = (line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#"))
    whole = "\n".join(lines).replace("\\\n", " ")
    found = (line.split(maxsplit=1) for line in whole.splitlines() if line.strip())
    return [Instruction(word, " ".join(rest.split())) for word, rest in found]


def of(word: str) -> list[str]:
    """Return what follows each instruction of a kind."""
    return [one.rest for one in instructions() if one.word == word]


def context() -> list[Path]:
    """Return the files, relative to the checkout, that .dockerignore lets into a build."""
    rules = [
        (not line.startswith("!"), _pattern(line.removeprefix("!")))
        for line in (CHECKOUT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    found = []
    for folder, folders, names in os.walk(CHECKOUT):
        here = Path(folder).relative_to(CHECKOUT)
        if here == Path():  # thousands of files that no rule lets in
            folders[:] = [name for name in folders if not name.startswith(".")]
        files = (here / name for name in names)
        found += [path for path in files if not _is_left_out(path, rules)]
    return sorted(found)


def _pattern(text: str) -> re.Pattern[str]:
    escaped = re.escape(text).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
    return re.compile(escaped)


def _is_left_out(path: Path, rules: list[tuple[bool, re.Pattern[str]]]) -> bool:
    """Return what the last rule says that matches the path or a folder above it, as in Docker."""
    out = False
    for leaves_out, pattern in rules:
        if any(pattern.fullmatch(str(part)) for part in (path, *path.parents)):
            out = leaves_out
    return out


class Image:
    """The folders that the build makes below `root`, and how a command runs in the last stage."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment: dict[str, str] = {}
        self.workdir = root
        self.entrypoint: list[str] = []
        self.command: list[str] = []

    def here(self, text: str) -> str:
        """Return a text with the image's folders where they are on this machine."""
        return _PLACES.sub(f"{self.root}/", text)

    def build(self) -> None:
        """Carry out all instructions."""
        for one in instructions():
            match one.word:
                case "FROM":
                    self._begin()
                case "ENV" | "ARG":
                    self._set(one.rest)
                case "WORKDIR":
                    self.workdir = Path(self.here(one.rest))
                    self.workdir.mkdir(parents=True)
                case "COPY":
                    self._copy(Template(one.rest).safe_substitute(self.environment).split())
                case "RUN":
                    self._run(one.rest)
                case "ENTRYPOINT":
                    self.entrypoint = _exec_form(one.rest)
                case "CMD":
                    self.command = _exec_form(one.rest)
                case "LABEL" | "USER" | "EXPOSE" | "STOPSIGNAL":
                    pass  # they say something of the image and do nothing
                case other:
                    raise AssertionError(f"{other} is not known here")

    def _begin(self) -> None:
        inherited = ("PATH", "HOME", "LANG")
        self.environment = {name: os.environ[name] for name in inherited if name in os.environ}
        self.environment["PATH"] = f"{Path(sys.executable).parent}:{self.environment['PATH']}"

    def _set(self, pairs: str) -> None:
        for pair in shlex.split(pairs):
            name, _, value = pair.partition("=")
            self.environment[name] = self.here(value.replace("${PATH}", self.environment["PATH"]))

    def _copy(self, words: list[str]) -> None:
        if words[0].startswith("--from="):
            assert words[1] == words[2], "a virtualenv lives where it was made"
            assert Path(self.here(words[1])).is_dir()
            return
        *sources, target = words
        for source in sources:
            into = self.workdir / target
            files = [p for p in context() if p == Path(source) or Path(source) in p.parents]
            assert files, f"COPY {source}: .dockerignore lets nothing in"
            for path in files:
                inner = path.relative_to(source) if path != Path(source) else Path(path.name)
                to = into if path == Path(source) and not target.endswith("/") else into / inner
                to = to / path.name if to.is_dir() else to
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(CHECKOUT / path, to)

    def _run(self, command: str) -> None:
        done = subprocess.run(
            ["sh", "-euc", self.here(command)],
            cwd=self.workdir,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:]


def _exec_form(text: str) -> list[str]:
    assert text.startswith("["), "a shell would be PID 1 and keep SIGTERM to itself"
    return [word.strip().strip('"') for word in text.strip("[]").split(",")]
