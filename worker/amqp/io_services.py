"""pika's input and output, with one failure reported instead of raised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter

if TYPE_CHECKING:
    from collections.abc import Callable


class IoServices(SelectorIOServicesAdapter):  # type: ignore[misc]  # pika has no types
    """For a connection that may be reset in the instant in which it is established.

    pika raises a ValueError then, out of the loop; here it is the failure of that try.
    """

    def create_streaming_connection(
        self, protocol_factory: Any, sock: Any, on_done: Callable[[Any], None], **options: Any
    ) -> Any:
        """Set up a transport (see pika's nbio_interface)."""
        try:
            return super().create_streaming_connection(protocol_factory, sock, on_done, **options)
        except ValueError as error:
            return _Failure(self, on_done, error)


class _Failure:
    """Tells of a failure in the loop's next pass, unless it is cancelled before."""

    def __init__(self, services: Any, on_done: Callable[[Any], None], error: ValueError) -> None:
        self._on_done: Callable[[Any], None] | None = on_done
        self._error = error
        services.add_callback_threadsafe(self._tell)

    def cancel(self) -> bool:
        """Tell nobody; whether there still was something to tell."""
        was_pending, self._on_done = self._on_done is not None, None
        return was_pending

    def _tell(self) -> None:
        if self._on_done is not None:
            tell, self._on_done = self._on_done, None
            tell(self._error)
