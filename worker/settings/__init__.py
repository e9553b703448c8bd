"""Settings from the environment, all problems reported at once.

A secret `X` may stand in a file instead, named by `X_FILE` (a mounted Kubernetes secret); its
trailing newline is dropped. A variable that is a near miss of a setting is a problem, too. Nothing
is read at import: `load` reads once, at start.

`worker` has the settings of the worker and of each command, made of the groups in `servers` and
`messages`; `values` and `addresses` check single values, `environment` reads and names problems.
Neighbours use what stands here, and `addresses` where they read a URL themselves.
"""

from worker.settings.environment import SettingsInvalid as SettingsInvalid
from worker.settings.environment import load as load
from worker.settings.environment import show as show
from worker.settings.messages import CheckSettings as CheckSettings
from worker.settings.messages import MessageEncryption as MessageEncryption
from worker.settings.messages import MessageSettings as MessageSettings
from worker.settings.servers import BrokerSettings as BrokerSettings
from worker.settings.servers import DatabaseSettings as DatabaseSettings
from worker.settings.servers import DigestSettings as DigestSettings
from worker.settings.values import delay_name as delay_name
from worker.settings.worker import ConsoleSettings as ConsoleSettings
from worker.settings.worker import EraseSettings as EraseSettings
from worker.settings.worker import OutboxSettings as OutboxSettings
from worker.settings.worker import RetentionSettings as RetentionSettings
from worker.settings.worker import Settings as Settings
from worker.settings.worker import StatusSettings as StatusSettings
from worker.settings.worker import SubmitSettings as SubmitSettings
from worker.settings.worker import ToolSettings as ToolSettings
