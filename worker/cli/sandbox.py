"""`verification-worker sandbox`: the stand-in for the provider.

It alone imports the sandbox, when it runs: no other command needs the extra.
"""

import asyncio
import os
from dataclasses import replace
from typing import Annotated

import typer

from worker.cli.mistakes import UserMistake, port_mistakes
from worker.cli.tables import print_table
from worker.cli.usage import refuse_ignored


def sandbox(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8080,
    latency: Annotated[float, typer.Option(min=0, help="Seconds that every call takes.")] = 0.0,
    *,
    table: Annotated[bool, typer.Option("--table", help="Print the magic ID numbers.")] = False,
) -> None:
    """Serve a stand-in for personalAuth that acts on magic ID numbers and counts charges.

    It knows one account: PROVIDER_ACCESS_KEY and PROVIDER_SECRET_KEY of the environment, or
    SANDBOXACCESSKEY and sandbox-secret-key.

    PUT /scenario {"act": "unavailable", "calls": 20} makes the next calls act so, whoever they
    ask about; {} ends it. GET /charges counts.
    """
    if table:
        refuse_ignored(context, ["host", "port", "latency"], "nothing is served with --table")
        from worker.sandbox.magic import magic_table

        columns = ("ID number", "behaviour", "what happens")
        print_table(columns, magic_table(), as_json=False, words_last=True)
        return
    try:
        from worker.sandbox.server import serve_until_signalled
    except ModuleNotFoundError as error:
        if error.name != "aiohttp":
            raise
        install = "pip install 'verification-worker[sandbox]'"
        raise UserMistake(f"the sandbox needs aiohttp: {install}") from None
    from worker.sandbox.settings import SandboxSettings

    host = host.removeprefix("[").removesuffix("]")
    settings = SandboxSettings(host=host, port=port, latency=latency)
    if access_key := os.environ.get("PROVIDER_ACCESS_KEY"):
        settings = replace(settings, access_key=access_key)
    if secret_key := os.environ.get("PROVIDER_SECRET_KEY"):
        settings = replace(settings, secret_key=secret_key)
    with port_mistakes(host, port):
        asyncio.run(serve_until_signalled(settings))
