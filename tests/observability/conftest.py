"""A house as in tests/e2e."""

from __future__ import annotations

from tests.e2e.conftest import house, provider, running_sandbox, vhost_with_topology

__all__ = ["house", "provider", "running_sandbox", "vhost_with_topology"]
