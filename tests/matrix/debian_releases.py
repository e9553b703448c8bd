"""Programs of other Debian releases, unpacked into a folder and made to run from there.

Nothing of it is installed: apt gets lists of its own, verified with Debian's keyring, dpkg only
unpacks. A package of another release needs that release's C library, so that each program becomes
a script that calls its own loader with its own libraries. It needs no root and no chroot; what is
to be a root file system itself is left as it is.
"""

import os
import re
import shlex
import shutil
from pathlib import Path

from local_errors import StackError
from local_process import run

# The status is empty: nothing is installed, so that all that a package needs is fetched.
_CONFIGURATION = """\
Dir::State "{here}";
Dir::State::status "/dev/null";
Dir::Cache "{here}";
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


def extract(release: str, root: Path, *packages: str) -> None:
    """Put packages of a release with all that they need into a new folder. Raises StackError."""
    if shutil.which("apt-get") is None:
        raise StackError("this machine has no apt-get to get Debian's packages with")
    # From where our own release is from, but for bookworm-security and its like.
    line = "$(ORIGIN) $(RELEASE) $(REPO_URI)"
    listed = run(["apt-get", "indextargets", "--format", line, "Created-By: Packages"])
    addresses = re.findall(r"^Debian \w+ (\S+)$", listed, re.MULTILINE)
    if not addresses:
        raise StackError("apt knows no Debian release here: run apt-get update first")
    here = root.with_name(f"{root.name}.apt")
    for folder in (root, here):
        shutil.rmtree(folder, ignore_errors=True)
    for part in ("lists", "archives"):
        (here / part / "partial").mkdir(parents=True)
    (here / "sources.list").write_text(f"deb {addresses[0]} {release} main\n")
    (here / "apt.conf").write_text(_CONFIGURATION.format(here=here))
    environment = {**os.environ, "APT_CONFIG": str(here / "apt.conf")}
    run(["apt-get", "--quiet", "update"], environment)
    fetch = ["apt-get", "install", "--quiet", "--yes", "--download-only", *packages]
    run(fetch, environment)
    for archive in sorted(here.glob("archives/*.deb")):
        run(["dpkg-deb", "--extract", str(archive), str(root)])
    shutil.rmtree(here)


def unpack(release: str, root: Path, package: str) -> None:
    """Extract a package, made to run from `root`. Once is enough. Raises StackError."""
    done = root / ".unpacked"
    if not done.exists():
        extract(release, root, package)
        relocate(root)
        done.touch()


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
