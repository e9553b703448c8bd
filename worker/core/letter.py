"""A dead letter as it stands in its queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from worker.core.delivery import Delivery


@dataclass(frozen=True, slots=True, repr=False)
class Letter:
    """One message of the dead-letter queue, whoever put it there: nothing of it is checked.

    `headers` are all that AMQP carried: values are text, bytes, numbers, times, lists, tables.
    """

    delivery: Delivery
    headers: Mapping[str, object]

    def __repr__(self) -> str:
        return f"<Letter, {len(self.delivery.body)} bytes>"
