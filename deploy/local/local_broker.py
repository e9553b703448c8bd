"""A private RabbitMQ node on free ports of 127.0.0.1.

Its settings were tried on RabbitMQ 3.10 to 4.3. It runs as whoever starts it, in a directory of its
own, and shares nothing with a RabbitMQ that the system may run: neither ports nor cookie nor epmd.
"""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from local_errors import StackError, StartFailed
from local_management import Management, Vhosts
from local_ports import LOOPBACK, free_ports
from local_process import Process
from local_programs import program, search_path
from local_workspace import PrivateServer, Workspace

# 10 s in looks of 0.05 s: twenty times what it takes.
_ON_DISK_LOOKS = 200

_ERLANG_ARGUMENTS = " ".join(
    (
        "-noinput",
        "-kernel inet_dist_use_interface {127,0,0,1}",
        # Without these the schedulers spin while idle and take CPU from what is measured.
        "+sbwt none +sbwtdcpu none +sbwtdio none",
    )
)

_CONFIGURATION = """\
log.file = false
log.console = true
log.console.level = info
log.console.use_colors = off
management.tcp.ip = {host}
management.tcp.port = {management}
prometheus.tcp.ip = {host}
prometheus.tcp.port = {metrics}
# Counts one second old, not five: a person watches them, tests wait for them.
collect_statistics_interval = 1000
"""

# The quorum queues' log lies in memory then: a file of the standard 512 MiB would not be emptied
# before the end.
_NOT_DURABLE = "raft.wal_max_size_bytes = 33554432\n"


@dataclass(frozen=True, slots=True)
class _Ports:
    amqp: int
    management: int
    metrics: int
    distribution: int
    epmd: int


@dataclass(frozen=True, slots=True)
class Membership:
    """A node's place in a cluster whose nodes share an epmd, which whoever starts them runs."""

    name: str
    peers: tuple[str, ...]
    """Whom it joins when it starts for the first time, as `name@localhost`, itself included.

    The first node names only itself, and the others start when it runs: nodes that start together
    wait for each other's lock, and the first to get it looks for the others in vain, for 5 s.
    """
    epmd: int
    cookie: str = field(repr=False)

    def configuration(self) -> str:
        """Return the lines by which this node finds the others."""
        lines = ["cluster_formation.peer_discovery_backend = classic_config"]
        for number, peer in enumerate(self.peers, 1):
            lines.append(f"cluster_formation.classic_config.nodes.{number} = {peer}")
        return "\n".join(lines) + "\n"


class Broker(PrivateServer, Vhosts):
    """A private node. `start()` after `stop()` or `kill()` finds the same ports and data."""

    name = "RabbitMQ"

    def __init__(
        self,
        membership: Membership | None = None,
        *,
        configuration: str = "",
        durable: bool = True,
    ) -> None:
        """Keep what to start: a node alone, or a member of a cluster that runs its epmd itself.

        `configuration` are more lines for its rabbitmq.conf. One that is not `durable` writes to
        memory where that has room: a kill loses nothing, a power cut all.
        """
        super().__init__(durable=durable)
        self._membership = membership
        self._more_configuration = configuration if durable else _NOT_DURABLE + configuration
        self._chosen: _Ports | None = None
        self._epmd: Process | None = None

    @property
    def url(self) -> str:  # type: ignore[override]
        """The default vhost's AMQP URL."""
        return f"amqp://guest:guest@{LOOPBACK}:{self._ports.amqp}/%2F"

    @property
    def node_name(self) -> str:
        """The Erlang node's name."""
        return "verification@localhost" if self._membership is None else self._membership.name

    @property
    def management_url(self) -> str:  # type: ignore[override]
        """The management interface's address, with user and password."""
        return f"http://guest:guest@{LOOPBACK}:{self._ports.management}"

    @property
    def metrics_address(self) -> str:
        """Host and port of the node's metrics, for Prometheus."""
        return f"{LOOPBACK}:{self._ports.metrics}"

    def launch(self) -> None:
        """Start the node without waiting for it (3 to 7 s). Raises MissingProgram."""
        server, epmd = program("rabbitmq-server"), program("epmd")
        if self._workspace is None:
            self._workspace = Workspace("broker", lasting=self.durable)
            self._chosen = _Ports(*free_ports(5))
            if self._membership is not None:
                self._chosen = replace(self._chosen, epmd=self._membership.epmd)
            self._write_files()
        self._refuse_taken(self._ports.amqp)
        environment = self._environment()
        if self._membership is None and (self._epmd is None or not self._epmd.is_alive()):
            # RabbitMQ would start one itself, as a daemon that outlives everything.
            command = [epmd, "-port", str(self._ports.epmd), "-address", LOOPBACK]
            self._epmd = Process(
                "epmd", command, workspace=self._workspace, environment=environment
            )
        self._process = Process(
            self.name,
            [server],
            workspace=self._workspace,
            environment=environment,
            last_words="BOOT FAILED",  # 10 s and a crash dump before it ends
        )

    def stop(self) -> None:
        """End the node in its own orderly way; the data stay for another `start()`.

        It takes 6 s, of which RabbitMQ's management plugin takes 5 for itself.
        """
        if self._process is not None:
            self._process.stop()
        if self._epmd is not None:
            self._epmd.stop()

    def await_on_disk(self, vhost: str, queue: str) -> None:
        """Return when a quorum queue that was declared would survive `kill()`: to be called before.

        RabbitMQ (seen in 3.10.8) enters it in a file that is written up to half a second after the
        declaration is answered. A node killed before that comes back with a queue of this name
        that has no leader, for ever, and none of its confirmed messages.
        """
        # Erlang writes a binary behind the name; other names may begin with this one.
        name = f"{quote(vhost, safe='')}_{queue}".encode() + b"m\0\0\0"
        for _ in range(_ON_DISK_LOOKS):
            files = self.directory.glob("data/*/quorum/*/names.dets")
            if any(name in file.read_bytes() for file in files):
                return
            time.sleep(0.05)
        raise StackError(f"the queue {queue!r} of the vhost {vhost!r} does not get on the disk")

    @property
    def _ports(self) -> _Ports:
        if self._chosen is None:
            raise StackError("the broker has not been started")
        return self._chosen

    def _has_collided(self, failure: StartFailed) -> bool:
        epmd_is_gone = self._epmd is not None and not self._epmd.is_alive()
        return epmd_is_gone or "could_not_start_listener" in failure.log_tail

    def _answers(self) -> bool:
        return Management(self.management_url).listens_on(self._ports.amqp)

    def _write_files(self) -> None:
        directory = self.directory
        ports = self._ports
        configuration = _CONFIGURATION.format(
            host=LOOPBACK, management=ports.management, metrics=ports.metrics
        )
        if self._membership is not None:
            configuration += self._membership.configuration()
        configuration += self._more_configuration
        (directory / "rabbitmq.conf").write_text(configuration)
        (directory / "enabled_plugins").write_text("[rabbitmq_management,rabbitmq_prometheus].\n")
        (directory / "advanced.config").write_text("[].\n")
        cookie = directory / ".erlang.cookie"
        cookie.touch(mode=0o600)
        cookie.write_text(self._membership.cookie if self._membership else secrets.token_hex(20))
        cookie.chmod(0o400)  # Erlang refuses one that others could read

    def _environment(self) -> dict[str, str]:
        """Return the node's whole environment: a RABBITMQ_* variable of the shell stays out."""
        directory, ports = self.directory, self._ports
        return {
            "PATH": search_path(),
            "LANG": "C.UTF-8",
            "HOME": str(directory),  # .erlang.cookie
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(ports.epmd),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "advanced.config"),
            "RABBITMQ_ALLOW_INPUT": "1",  # the script execs the VM: the child is the broker itself
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,  # not the system's /etc/rabbitmq
            "RABBITMQ_DIST_PORT": str(ports.distribution),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(directory / "config"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_NODENAME": self.node_name,
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": str(ports.amqp),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
            "RABBITMQ_SCHEMA_DIR": str(directory / "schema"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG_ARGUMENTS,
        }
