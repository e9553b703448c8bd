"""A mistake in a command line, in our words instead of the library's; and options that do nothing.

The library's sentences are those of typer 0.29; one that is not known is said as it is.
"""

import re
from collections.abc import Iterable

import typer
from pydantic import ValidationError

from worker.cli.mistakes import UserMistake
from worker.settings.environment import words_for

# '--mode' (env var: 'PROVIDER_MODE')
_PARAMETER = r"'([^']+)'(?: \(env var: [^)]*\))?"

_SENTENCES = (
    (r"No such command '(.+)'\. Did you mean (.+)\?", r"there is no command \1, perhaps \2"),
    (r"No such command '(.+)'", r"there is no command \1"),
    (r"No such option: (\S+) \(Possible options: (.+)\)", r"there is no option \1, perhaps \2"),
    (r"No such option: (\S+)", r"there is no option \1"),
    (r"Missing (?:argument|option) '(.+)'", r"\1 is missing"),
    (r"Option '(.+)' requires an argument", r"\1 needs a value"),
    (r"Option '(.+)' does not take a value", r"\1 takes no value"),
    # They could be somebody's name or number.
    (r"Got unexpected extra argument\(s\) \(.*\)", r"there are more arguments than it takes"),
    (rf"Invalid value for {_PARAMETER}: .* is not one of (.*)", r"\1: must be one of \2"),
    (rf"Invalid value for {_PARAMETER}: (.*)", r"\1: \2"),
)


def words_of(mistake: typer.TyperException) -> str:
    """Return what is wrong with a command line in one line, or "" where help was printed."""
    cause = mistake.__cause__
    if isinstance(mistake, typer.BadParameter) and isinstance(cause, ValidationError):
        # The library checks values by pydantic, as the settings are.
        mistake.message = "; ".join(words_for(cause.errors()[0]))
    said = mistake.format_message().removesuffix(".")
    for sentence, ours in _SENTENCES:
        if found := re.fullmatch(sentence, said, re.DOTALL):
            return found.expand(ours).replace("'", "") + ": see --help"
    return said and f"{said}: see --help"


def refuse_ignored(context: typer.Context, names: Iterable[str], why: str) -> None:
    """Raise `UserMistake` where one of these parameters was given, for it would do nothing."""
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            raise UserMistake(f"{parameter.opts[0]}: {why}")
