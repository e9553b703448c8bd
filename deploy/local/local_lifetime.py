"""What the servers of the local stack have in common: they are started, used and closed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class Lifetime(ABC):
    """Started by `with`, and closed however the block ends; what fails to start is closed, too."""

    @abstractmethod
    def start(self) -> None:
        """Start it; return when it can be used."""

    @abstractmethod
    def close(self) -> None:
        """End it and remove its data."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
