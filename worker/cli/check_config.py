"""`verification-worker check-config`: all settings with their meaning, and all that is wrong."""

import sys
from dataclasses import asdict

from worker.amqp.broker_errors import InvalidUrl
from worker.amqp.parameters import parameters
from worker.cli.tables import AsJson, print_json, print_table
from worker.contract.encryption import MessageKeys
from worker.settings import MessageSettings, Settings, SettingsInvalid, load, show
from worker.store.address import connection_parameters


def check_config(*, as_json: AsJson = False) -> None:
    """Check the settings and print them, secrets hidden.

    With --json the problems stand in the document. Exit code 2: there is one.
    """
    problems: list[str] = []
    settings = None
    try:
        settings = load(Settings)
    except SettingsInvalid as invalid:
        problems += invalid.problems
    # What is wrong with a key, or with a parameter of a URL, only their libraries know.
    if settings is not None:
        try:
            parameters(settings.amqp_url.get_secret_value(), "check-config")
        except InvalidUrl as invalid:
            problems.append(f"AMQP_URL: {invalid}")
        try:
            connection_parameters(settings.database_url.get_secret_value())
        except SettingsInvalid as invalid:
            problems += invalid.problems
    try:
        MessageKeys.of(load(MessageSettings))
    except SettingsInvalid as invalid:
        problems += [problem for problem in invalid.problems if problem not in problems]
    shown = [] if settings is None else show(settings)
    if as_json:
        print_json({"settings": [asdict(each) for each in shown], "problems": problems})
        sys.exit(2 if problems else 0)
    if problems:
        raise SettingsInvalid(problems)
    rows = [
        (each.name, f"{each.value or 'not set'}{' (default)' * each.is_default}", each.meaning)
        for each in shown
    ]
    print_table(("setting", "value", "meaning"), rows, as_json=False, words_last=True)
