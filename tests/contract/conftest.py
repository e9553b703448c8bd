"""The packages of Node."""

from pathlib import Path

import pytest

from local_install import node_modules


@pytest.fixture(scope="session")
def node_environment() -> dict[str, str]:
    """Say where Node finds the packages that the lock file names; installs them once."""
    return {"NODE_PATH": str(node_modules(Path(__file__).parent))}
