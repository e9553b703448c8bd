"""`verification-worker digest`: how a person's rows are found without the number."""

from typing import Annotated

import typer

from worker.cli.inputs import id_card, id_card_lines
from worker.cli.mistakes import UserMistake
from worker.cli.usage import refuse_ignored
from worker.settings import DigestSettings, load


def digest(
    context: typer.Context,
    *,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Do not check the number first.")
    ] = False,
    keys: Annotated[
        bool, typer.Option("--keys", help="Print the ids of the keys instead; read nothing.")
    ] = False,
) -> None:
    """Print the subject_digest of the ID number on standard input (never an argument).

    While DIGEST_KEY is rotated: a line for each key, the current one first.
    """
    if keys:
        refuse_ignored(context, ["unchecked"], "no number is read with --keys")
    digests = load(DigestSettings).digests
    if keys:
        for place, key_id in enumerate(digests.key_ids):
            typer.echo(f"{key_id}  {'fallback' if place else 'current'}")
        return
    if len(lines := id_card_lines()) != 1:
        raise UserMistake(f"needs one ID number on standard input; there are {len(lines)}")
    number = id_card(lines[0], unchecked=unchecked)
    for each in digests.subjects(number):
        typer.echo(each.hex())
