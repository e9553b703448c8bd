"""The command `run`. It stays in memory for weeks, so nothing of the other commands is loaded."""

import sys

# structlog loads rich where it is installed: 11 MB, for tracebacks that are never printed.
if is_alone := "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]
import structlog  # noqa: F401

if is_alone:
    del sys.modules["rich"]

from worker.cli.mistakes import UserMistake, broker_mistakes, one_line_each


def main() -> None:
    """Do it, as if it were the only command."""
    with one_line_each():
        run()


def run() -> None:
    """Consume requests until SIGTERM or SIGINT."""
    from worker.bootstrap import Worker
    from worker.ports import DatabaseUnfit
    from worker.settings import Settings, load
    from worker.telemetry.health_server import CannotListen
    from worker.telemetry.logs import configure

    settings = load(Settings)
    try:
        with broker_mistakes():
            configure(settings.log_format, settings.log_level)
            worker = Worker(settings)
    except CannotListen as error:
        raise UserMistake(str(error)) from None
    try:
        code = worker.run()
    except DatabaseUnfit as error:
        raise UserMistake(str(error)) from None
    sys.exit(code)
