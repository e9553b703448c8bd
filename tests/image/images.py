"""The image, built by buildah as deploy/Dockerfile says, and its files.

No registry is asked where Debian's packages can be had: a base of the name that the Dockerfile
gives is made of them, with the Python of that version, pip and a shell. Both stay in
`.local/image`.
"""

import fcntl
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from local_errors import StackError
from local_programs import program
from tests.matrix.debian_releases import extract

CHECKOUT = Path(__file__).resolve().parents[2]
DOCKERFILE = CHECKOUT / "deploy/Dockerfile"
BASE = re.findall(r"^ARG BASE=(\S+)", DOCKERFILE.read_text(), re.MULTILINE)[0]
"""What the Dockerfile builds on: `python:3.14-slim-trixie`."""

_FOLDER = CHECKOUT / ".local/image"

# As buildah writes short names out: a build's own, and where `FROM` looks for others.
_OURS = "localhost/verification-worker:"
_LIBRARY = "docker.io/library/"

# Debian's next has the Python that Debian's last lacks.
_RELEASE = "forky"

# Where Debian has since moved what some packages still have at the old place.
_MERGED = ("bin", "sbin", "lib", "lib64")


@dataclass(frozen=True, slots=True)
class Image:
    """An image whose files can be looked at, and run."""

    root: Path
    """Its file system."""
    config: dict[str, Any]
    """What it says about how it is run, by OCI's names: `Entrypoint`, `User`, `Env` and others."""

    @property
    def environment(self) -> dict[str, str]:
        """Return its variables."""
        return dict(line.split("=", 1) for line in self.config["Env"])

    def size(self, *folders: str) -> int:
        """Return the bytes of all files below these folders."""
        files = (file for folder in folders for file in (self.root / folder).rglob("*"))
        return sum(file.lstat().st_size for file in files if file.is_symlink() or file.is_file())


@contextmanager
def built(**arguments: str) -> Iterator[Image]:
    """Give the image with these build arguments: built, unless it has been of the same files."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    with (_FOLDER / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        images = _buildah("images", "--format={{.Name}}:{{.Tag}}").splitlines()
        name = f"{_OURS}{_digest(arguments)}"
        if name not in images:
            if f"{_LIBRARY}{BASE}" not in images:
                _make_base()
            words = [f"--build-arg={key}={value}" for key, value in arguments.items()]
            words += ["--isolation=chroot", "--pull=false", f"--file={DOCKERFILE}", *_secrets()]
            _buildah("build", *words, f"--tag={name}", str(CHECKOUT))
            for old in (each for each in images if each.startswith(_OURS)):
                _buildah("rmi", old)
        container = _buildah("from", "--pull-never", name).strip()
        try:
            described = json.loads(_buildah("inspect", "--type=image", name))["OCIv1"]
            yield Image(Path(_buildah("mount", container).strip()), described["config"])
        finally:
            _buildah("rm", "--all")


def _digest(arguments: Mapping[str, str]) -> str:
    """Return what tells one build from another: the arguments, and all that a build sees."""
    rules = (CHECKOUT / ".dockerignore").read_text().splitlines()
    seen = [CHECKOUT / rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    files = {file for place in (DOCKERFILE, *seen) for file in (place, *place.rglob("*"))}
    whole = sha256(repr(sorted(arguments.items())).encode())
    for file in sorted(file for file in files if file.is_file() and file.suffix != ".pyc"):
        whole.update(f"{file} {sha256(file.read_bytes()).hexdigest()}".encode())
    return whole.hexdigest()[:12]


def _make_base() -> None:
    """Make the base. Where Debian's packages cannot be had, buildah asks the registry for it."""
    root, version = _FOLDER / "base", BASE.partition(":")[2].partition("-")[0]
    python = f"python{version}"
    try:
        extract(_RELEASE, root, f"{python}-venv", "dash")
    except StackError as reason:
        sys.stderr.write(f"{BASE} cannot be made here: {reason}\n")
        return
    for place in _MERGED:
        if not (root / place).exists():
            (root / place).symlink_to(f"usr/{place}")
    for place in ("dev", "proc", "sys", "tmp", "usr/local/bin", "etc/ssl/certs"):
        (root / place).mkdir(parents=True, exist_ok=True)
    # As the package's own script would: pip does not start without.
    certificates = sorted((root / "usr/share/ca-certificates/mozilla").iterdir())
    bundle = b"".join(each.read_bytes() for each in certificates)
    (root / "etc/ssl/certs/ca-certificates.crt").write_bytes(bundle)
    (root / "usr/local/bin/python").symlink_to(f"/usr/bin/{python}")
    container = _buildah("from", "scratch").strip()
    _buildah("copy", "--quiet", container, str(root), "/")
    _buildah("commit", "--quiet", "--rm", container, f"{_LIBRARY}{BASE}")
    shutil.rmtree(root)


def _secrets() -> list[str]:
    """Hand over where this machine has packages from, as whoever has an index of his own does."""
    asked = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    index = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    configuration = _FOLDER / "pip.conf"
    lines = ["[global]", "cert = /run/secrets/ca", *([f"index-url = {index}"] if index else [])]
    configuration.write_text("\n".join(lines))
    certificates = os.environ.get("PIP_CERT") or ssl.get_default_verify_paths().cafile
    return [f"--secret=id=pip,src={configuration}", f"--secret=id=ca,src={certificates}"]


def _buildah(*arguments: str) -> str:
    """Carry out a command on a store of our own. Raises StackError with its last words."""
    store = ("--root", str(_FOLDER / "store"), "--runroot", str(_FOLDER / "run"))
    done = subprocess.run(
        [program("buildah"), *store, "--storage-driver=vfs", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = "\n".join(f"{done.stdout}{done.stderr}".splitlines()[-30:])
        raise StackError(f"buildah {arguments[0]} ended with code {done.returncode}:\n{said}")
    return done.stdout
