"""How the database is reached."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from worker.settings.environment import FromEnvironment
from worker.settings.kinds import has_scheme


class DatabaseSettings(FromEnvironment):
    """What the commands for the database need."""

    database_url: Annotated[SecretStr, has_scheme("postgresql")] = Field(
        description="The database: postgresql://user:password@host:5432/name"
    )
