"""Programs of other Debian releases, unpacked into a folder and made to run from there.

Nothing of it is installed: apt gets lists of its own, verified with Debian's keyring, dpkg only
unpacks. A package of another release needs that release's C library, so that each program becomes
a script that calls its own loader with its own libraries. It needs no root and no chroot; what is
to be a root file system itself is left as it is.
"""

from __future__ import annotations

import os
import shlex
import shutil
from functools import cached_property
from typing import TYPE_CHECKING

from local_errors import StackError
from local_process import run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# From the oldest: what is released is taken before what is still made.
_RELEASES = ("bookworm", "trixie", "forky", "sid")

_CONFIGURATION = """\
Dir::State "{here}/state";
Dir::State::status "{here}/status";
Dir::Cache "{here}/cache";
Dir::Etc::SourceList "{here}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::Etc::Trusted "/dev/null";
Dir::Etc::TrustedParts "/usr/share/keyrings";
Acquire::Languages "none";
APT::Install-Recommends "false";
APT::Sandbox::User "";
"""

_SCRIPT = """\
#!/bin/sh
exec {loader} --library-path {libraries} --argv0 "$0" {program} "$@"
"""

# Where an ELF file names its loader: among its first headers.
_HEAD = 4096


def fits(found: str, wanted: str) -> bool:
    """Return whether 4.0.5 is a 4.0: whole numbers are compared, so that 4.01 is none."""
    return found == wanted or found.startswith(f"{wanted}.")


class Releases:
    """Debian's releases, with apt's lists of them in a folder."""

    def __init__(self, folder: Path, names: Sequence[str] = _RELEASES) -> None:
        """Use the releases of these names; each has 10 MB of lists, which take 5 s to read."""
        self._folder = folder
        self._names = names

    def unpack(self, package: str, version: str, root: Path) -> Path:
        """Unpack a package of this version, made to run from `root`; return that.

        Once is enough. Raises StackError.
        """
        done = root / ".unpacked"
        if not done.exists():
            self.extract(package, version, root)
            relocate(root)
            done.touch()
        return root

    def extract(self, package: str, version: str, root: Path, *others: str) -> None:
        """Put a package of this version with all that it needs into a new folder.

        `others` are of the same release, in the version that it has. Raises StackError.
        """
        listed = run(["apt-cache", "madison", package], self._apt)
        release = release_of(listed, version)
        if release is None:
            raise StackError(f"no Debian release has {package} {version}")
        archives = root.with_name(f"{root.name}.archives")
        for folder in (root, archives):
            shutil.rmtree(folder, ignore_errors=True)
        (archives / "partial").mkdir(parents=True)
        fetch = "apt-get install --quiet --yes --download-only".split()
        options = [f"--option=Dir::Cache::Archives={archives}", f"--target-release={release}"]
        run([*fetch, *options, package, *others], self._apt)
        for archive in sorted(archives.glob("*.deb")):
            run(["dpkg-deb", "--extract", str(archive), str(root)])
        shutil.rmtree(archives)

    @cached_property
    def _apt(self) -> dict[str, str]:
        """The variables by which apt has the lists: fetched from where our own release is from."""
        if shutil.which("apt-get") is None:
            raise StackError("this machine has no apt-get to get Debian's packages with")
        line = "$(ORIGIN) $(RELEASE) $(REPO_URI)"
        listed = run(["apt-get", "indextargets", "--format", line, "Created-By: Packages"])
        sources = [words.split() for words in listed.splitlines()]
        known = (*_RELEASES, "stable", "testing", "unstable")
        addresses = [each[2] for each in sources if each[0] == "Debian" and each[1] in known]
        if not addresses:
            raise StackError("apt knows no Debian release here: run apt-get update first")
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (self._folder / folder).mkdir(parents=True, exist_ok=True)
        files = {
            "apt.conf": _CONFIGURATION.format(here=self._folder),
            "status": "",  # nothing is installed, so that all that a package needs is fetched
            "sources.list": "".join(f"deb {addresses[0]} {each} main\n" for each in self._names),
        }
        for name, content in files.items():
            (self._folder / name).write_text(content)
        environment = {**os.environ, "APT_CONFIG": str(self._folder / "apt.conf")}
        run(["apt-get", "--quiet", "update"], environment)
        return environment


def release_of(listed: str, version: str) -> str | None:
    """Return the first release whose version fits, from what `apt-cache madison` prints."""
    offers = {}
    for line in listed.splitlines():
        _, full, source = (each.strip() for each in line.split("|"))
        offers[source.split()[1].partition("/")[0]] = full.rpartition(":")[2].partition("-")[0]
    fitting = (name for name in _RELEASES if name in offers and fits(offers[name], version))
    return next(fitting, None)


def relocate(root: Path) -> None:
    """Have the programs below `root` run from there, on their own libraries."""
    loader = next(file for file in root.rglob("ld-linux-*") if not file.is_symlink())
    places = (*root.glob("lib/*-linux-gnu*"), *root.glob("usr/lib/*-linux-gnu*"))
    libraries = ":".join(map(str, places))
    files = [each for each in root.rglob("*") if each.is_file() and not each.is_symlink()]
    for file in files:
        if ".so" in file.name or not file.stat().st_mode & 0o100:
            continue
        content = file.read_bytes()
        if content.startswith(b"\x7fELF") and b"/ld-linux-" in content[:_HEAD]:
            moved = file.rename(file.with_name(f"{file.name}.elf"))
            words = {"loader": loader, "libraries": libraries, "program": moved}
            quoted = {name: shlex.quote(str(word)) for name, word in words.items()}
            file.write_text(_SCRIPT.format(**quoted))
        else:  # Erlang's scripts say where they are
            file.write_bytes(content.replace(b"ROOTDIR=/usr/", f"ROOTDIR={root}/usr/".encode()))
        file.chmod(0o755)
