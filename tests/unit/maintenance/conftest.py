"""The log of one test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import structlog
from structlog.testing import capture_logs

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping


@pytest.fixture
def log() -> Iterator[list[MutableMapping[str, Any]]]:
    """Collect all log lines of this test."""
    structlog.reset_defaults()
    with capture_logs() as lines:
        yield lines
