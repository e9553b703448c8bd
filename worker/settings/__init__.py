"""Settings from the environment, all problems reported at once.

A secret `X` may stand in a file instead, named by `X_FILE` (a mounted Kubernetes secret); its
trailing newline is dropped. Nothing is read at import: `load` reads once, at start.
"""

from worker.settings.broker import BrokerSettings
from worker.settings.checks import CheckSettings
from worker.settings.commands import EraseSettings, StatusSettings, SubmitSettings
from worker.settings.database import DatabaseSettings
from worker.settings.delays import delay_name, parse_delay
from worker.settings.digests import DigestSettings
from worker.settings.environment import SettingsInvalid, is_secret, load
from worker.settings.messages import MessageEncryption, MessageSettings
from worker.settings.shown import Shown, show
from worker.settings.worker import LIVE_URL, Settings

__all__ = [
    "LIVE_URL",
    "BrokerSettings",
    "CheckSettings",
    "DatabaseSettings",
    "DigestSettings",
    "EraseSettings",
    "MessageEncryption",
    "MessageSettings",
    "Settings",
    "SettingsInvalid",
    "Shown",
    "StatusSettings",
    "SubmitSettings",
    "delay_name",
    "is_secret",
    "load",
    "parse_delay",
    "show",
]
