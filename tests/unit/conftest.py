"""The log of one test."""

from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs
from structlog.typing import EventDict


@pytest.fixture
def log() -> Iterator[list[EventDict]]:
    """Collect all log lines of this test."""
    structlog.reset_defaults()
    with capture_logs() as lines:
        yield lines
