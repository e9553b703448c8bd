"""A private RabbitMQ node on free ports of 127.0.0.1.

Its settings were tried on RabbitMQ 3.10 to 4.3. It runs as whoever starts it, in a directory of its
own, and shares nothing with a RabbitMQ that the system may run: neither ports nor cookie nor epmd.
"""

import os
import secrets

from local_errors import StartFailed
from local_management import Vhosts
from local_ports import LOOPBACK
from local_process import PrivateServer, Process
from local_programs import program, search_path

# It writes its reason around "BOOT FAILED" to this line after it; 10 s and a crash dump follow.
_REASON_LINES = 8

_ERLANG_ARGUMENTS = (
    "-noinput -kernel inet_dist_use_interface {127,0,0,1}"
    # Without these the schedulers spin while idle and take CPU from what is measured.
    " +sbwt none +sbwtdcpu none +sbwtdio none"
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
{more}"""

# The quorum queues' log lies in memory then: a file of the standard 512 MiB would not be emptied
# before the end.
_NOT_DURABLE = "raft.wal_max_size_bytes = 33554432\n"


class Broker(PrivateServer, Vhosts):
    """A private node. `start()` after `stop()` or `kill()` finds the same ports and data."""

    ports = 5

    def __init__(
        self,
        *,
        configuration: str = "",
        durable: bool = True,
        node: str = "verification",
        epmd: int = 0,
        cookie: str | None = None,
    ) -> None:
        """Keep what to start; `configuration` are more lines for its rabbitmq.conf.

        One that is not `durable` writes to memory where that has room: a kill loses nothing, a
        power cut all. Nodes of a cluster share a cookie and the epmd of a port, which whoever
        starts them runs.
        """
        super().__init__(durable=durable)
        self._more_configuration = configuration if durable else _NOT_DURABLE + configuration
        self._epmd_port = epmd
        self._epmd: Process | None = None
        self._cookie = cookie or secrets.token_hex(20)
        self.node_name = f"{node}@localhost"

    @property
    def url(self) -> str:  # type: ignore[override]
        """The default vhost's AMQP URL."""
        return f"amqp://guest:guest@{LOOPBACK}:{self.port}/%2F"

    @property
    def management_url(self) -> str:  # type: ignore[override]
        """The management interface's address, with user and password."""
        return f"http://guest:guest@{LOOPBACK}:{self.workspace.ports[1]}"

    @property
    def metrics_address(self) -> str:
        """Host and port of the node's metrics, for Prometheus."""
        return f"{LOOPBACK}:{self.workspace.ports[2]}"

    def _prepare(self) -> None:
        files = {
            "rabbitmq.conf": _CONFIGURATION.format(
                host=LOOPBACK,
                management=self.workspace.ports[1],
                metrics=self.workspace.ports[2],
                more=self._more_configuration,
            ),
            "enabled_plugins": "[rabbitmq_management,rabbitmq_prometheus].\n",
            "advanced.config": "[].\n",
            ".erlang.cookie": self._cookie,
        }
        for name, content in files.items():
            file = self.directory / name
            file.touch(mode=0o600)
            file.write_text(content)
        file.chmod(0o400)  # Erlang refuses a cookie that others could read

    def _started(self) -> Process:
        """Start the node, which takes 3 to 7 s to be ready."""
        server, epmd = program("rabbitmq-server"), program("epmd")
        environment = self._environment()
        if not self._epmd_port and (self._epmd is None or not self._epmd.is_alive()):
            # RabbitMQ would start one itself, as a daemon that outlives everything.
            port = environment["ERL_EPMD_PORT"]
            command = [epmd, "-port", port, "-address", LOOPBACK]
            self._epmd = Process("epmd", command, workspace=self.workspace, environment=environment)
        return Process(self.name, [server], workspace=self.workspace, environment=environment)

    def stop(self) -> None:
        """End the node in its own orderly way; the data stay for another `start()`.

        It takes 6 s, of which RabbitMQ's management plugin takes 5 for itself.
        """
        self.process.stop()
        if self._epmd is not None:
            self._epmd.stop()

    def _answers(self) -> bool:
        lines = self.process.log().splitlines()
        last_words = [number for number, line in enumerate(lines) if "BOOT FAILED" in line]
        if last_words and len(lines) > (end := last_words[0] + _REASON_LINES):
            self.kill()
            raise StartFailed(self.name, "gave up starting", "\n".join(lines[:end][-20:]))
        return self.management.listens_on(self.port)

    def _environment(self) -> dict[str, str]:
        """Return the node's whole environment: a RABBITMQ_* variable of the shell stays out."""
        directory = self.directory
        amqp, _, _, distribution, epmd = self.workspace.ports
        return {
            "PATH": search_path(),
            "LANG": "C.UTF-8",
            "HOME": str(directory),  # .erlang.cookie
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(self._epmd_port or epmd),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(directory / "advanced.config"),
            "RABBITMQ_ALLOW_INPUT": "1",  # the script execs the VM: the child is the broker itself
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,  # not the system's /etc/rabbitmq
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(directory / "config"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_NODENAME": self.node_name,
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": str(amqp),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
            "RABBITMQ_SCHEMA_DIR": str(directory / "schema"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG_ARGUMENTS,
        }
