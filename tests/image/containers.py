"""A built image's commands, run as Kubernetes runs them, by util-linux alone."""

import subprocess
from collections.abc import Mapping

import psutil

from local_process import tied
from tests.image.images import Image

# The files read-only and in a namespace of mounts; then a namespace of processes, whose first is
# the command itself, with no other user's rights. It dies with who waits for it.
_RUN = """
mount --bind "$1" "$1"
mount --rbind /dev "$1/dev"
mount -o remount,bind,ro "$1"
root=$1 folder=$2 user=$3 group=$4
shift 4
exec unshare --pid --ipc --uts --fork --kill-child --root="$root" --wd="$folder" --mount-proc \
  --setgid="$group" --setuid="$user" -- "$@"
"""


class Container(subprocess.Popen[str]):
    """A command of the image as the first process of its namespace."""

    def __init__(
        self, image: Image, settings: Mapping[str, str], *command: str, entrypoint: bool = True
    ) -> None:
        """Start the image's own command, or another; without its entrypoint, as a Job does."""
        config = image.config
        whole = [*(config["Entrypoint"] if entrypoint else ()), *(command or config["Cmd"])]
        place = [str(image.root), config["WorkingDir"], *config["User"].split(":")]
        super().__init__(
            tied(["unshare", "--mount", "sh", "-euc", _RUN, "sh", *place, *whole]),
            env={**image.environment, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def first(self) -> psutil.Process:
        """Return the command's own process, which is number 1 to itself."""
        (process,) = psutil.Process(self.pid).children()
        return process

    def terminate(self) -> None:
        """Have the command itself end: SIGTERM is for nobody else."""
        self.first().terminate()
