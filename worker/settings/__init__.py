"""Settings from the environment, all problems reported at once.

A secret `X` may stand in a file instead, named by `X_FILE` (a mounted Kubernetes secret); its
trailing newline is dropped. A variable that is a near miss of a setting is a problem, too. Nothing
is read at import: `load` reads once, at start.
"""

from worker.settings.environment import SettingsInvalid, ShownSetting, load, show
from worker.settings.messages import CheckSettings, MessageEncryption, MessageSettings
from worker.settings.servers import BrokerSettings, DatabaseSettings, DigestSettings
from worker.settings.values import delay_name
from worker.settings.worker import (
    ConsoleSettings,
    EraseSettings,
    OutboxSettings,
    RetentionSettings,
    Settings,
    StatusSettings,
    SubmitSettings,
    ToolSettings,
)

__all__ = [
    "BrokerSettings",
    "CheckSettings",
    "ConsoleSettings",
    "DatabaseSettings",
    "DigestSettings",
    "EraseSettings",
    "MessageEncryption",
    "MessageSettings",
    "OutboxSettings",
    "RetentionSettings",
    "Settings",
    "SettingsInvalid",
    "ShownSetting",
    "StatusSettings",
    "SubmitSettings",
    "ToolSettings",
    "delay_name",
    "load",
    "show",
]
