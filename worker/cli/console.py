"""`verification-worker console`: a small web page of what the other commands show and do.

It alone imports the console, when it runs: no other command needs the extra.
"""

import asyncio
from typing import Annotated

import typer

from worker.cli.mistakes import UserMistake, port_mistakes
from worker.cli.pause import whoever
from worker.settings import ConsoleSettings, load
from worker.telemetry.logs import configure

_PACKAGES = ("aiohttp", "jinja2")


def console(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8090,
    user_header: Annotated[
        str | None,
        typer.Option(
            help="Header in which a proxy names the user, such as X-Forwarded-User: who acts is "
            "logged under that name. Only the proxy may reach the port then."
        ),
    ] = None,
    public_name: Annotated[
        list[str] | None,
        typer.Option(help="Host name under which a proxy publishes it; may be repeated."),
    ] = None,
    *,
    allow_actions: Annotated[
        bool,
        typer.Option("--allow-actions", help="Let people replay, drop, pause and resume there."),
    ] = False,
) -> None:
    """Serve a page of queues, workers, requests, dead letters and unrouted events.

    It shows no personal data, and changes nothing without --allow-actions. It has no login of its
    own: leave it on 127.0.0.1 (ssh -L, kubectl port-forward), or put a proxy before it that has.
    """
    try:
        from worker.console.guard import Guard
        from worker.console.server import serve_until_signalled
    except ModuleNotFoundError as error:
        if error.name not in _PACKAGES:
            raise
        install = "pip install 'verification-worker[console]'"
        raise UserMistake(f"the console needs {' and '.join(_PACKAGES)}: {install}") from None
    settings = load(ConsoleSettings)
    configure("auto", "info")
    host = host.removeprefix("[").removesuffix("]")
    names = frozenset(map(str.lower, public_name or ()))
    guard = Guard(whoever(), names, user_header, allow_actions=allow_actions)
    with port_mistakes(host, port):
        asyncio.run(serve_until_signalled(settings, guard, host, port))
