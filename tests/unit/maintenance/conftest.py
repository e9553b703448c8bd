"""The log of one test."""

from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs


@pytest.fixture
def log() -> Iterator[list[MutableMapping[str, Any]]]:
    """Collect all log lines of this test."""
    structlog.reset_defaults()
    with capture_logs() as lines:
        yield lines
