"""PostgreSQL's plans, as EXPLAIN (FORMAT JSON) gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a plan's node and all below it."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)
