"""A stack as in tests/e2e."""

from __future__ import annotations

from tests.e2e.conftest import provider, running_sandbox, stack, vhost_with_topology

__all__ = ["provider", "running_sandbox", "stack", "vhost_with_topology"]
