"""pika's connection with what we change in it. All use of pika's private names is in this file.

Tried with pika 1.4.4; `pyproject.toml` allows 1.4 only, and the integration tests would notice.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from pika import BlockingConnection, SelectConnection, exceptions
from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter
from structlog import get_logger

from worker.amqp.broker_errors import NO_AMQP, BrokerUnavailable
from worker.amqp.properties import UNDECODABLE, readable_header

UNREADABLE_PROPERTIES = "amqp.unreadable_properties"
BLOCKED = "amqp.blocked"
UNBLOCKED = "amqp.unblocked"

# pika receives 4 KiB at a time: 1 MB bodies came at 300/s, with 64 KiB at 690/s.
_RECEIVE_BYTES = 65_536

# An orderly close is a few round trips; a broker that takes longer is frozen or gone.
CLOSE_SECONDS = 5.0

_log = get_logger(__name__)


class PikaConnection(SelectConnection):  # type: ignore[misc]  # pika has no types
    """A pika connection that survives undecodable headers, and receives and sends larger pieces."""

    blocked: str | None = None
    """Why the broker takes no publications now, such as `low on disk`; None: it takes them."""

    _corked: list[bytes] | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.add_on_connection_blocked_callback(self._note_blocked)
        self.add_on_connection_unblocked_callback(self._note_unblocked)

    def _note_blocked(self, _connection: object, frame: Any) -> None:
        self.blocked = str(frame.method.reason)
        _log.warning(BLOCKED, reason=self.blocked)

    def _note_unblocked(self, _connection: object, _frame: object) -> None:
        self.blocked = None
        _log.info(UNBLOCKED)

    @contextmanager
    def corked(self) -> Iterator[None]:
        """Hold back what is written within, and write it at once: pika sends each frame alone."""
        frames: list[bytes] = []
        self._corked = frames
        try:
            yield
        finally:
            self._corked = None
            if frames:
                self._output_marshaled_frames([b"".join(frames)])

    def _output_marshaled_frames(self, frames: Sequence[bytes]) -> None:
        if self._corked is None:
            super()._output_marshaled_frames(frames)
        else:
            self._corked.extend(frames)

    def _proto_connection_made(self, transport: Any) -> None:
        transport._MAX_RECV_BYTES = _RECEIVE_BYTES
        super()._proto_connection_made(transport)

    def _on_connection_workflow_done(self, conn_or_exc: Any) -> None:
        """Take an end for one: closed in its handshake, pika gives a class instead of an error."""
        super()._on_connection_workflow_done(
            conn_or_exc() if isinstance(conn_or_exc, type) else conn_or_exc
        )

    def _proto_data_received(self, data: bytes) -> None:
        """Let an exception of our own callbacks end the loop.

        pika would take it for a loss of the connection, and connecting again for ever would hide
        it. What is wrong with the frames themselves is left to it.
        """
        if self.connection_state == self.CONNECTION_PROTOCOL:
            for first_bytes, words in NO_AMQP.items():
                if data.startswith(first_bytes):
                    self._terminate_stream(BrokerUnavailable(words))
                    return
        try:
            super()._proto_data_received(data)
        except exceptions.ProtocolSyntaxError:
            raise
        except Exception as error:
            self.ioloop.call_later(0, partial(_throw, error))
            raise

    def _read_frame(self) -> tuple[int, Any]:
        try:
            result: tuple[int, Any] = super()._read_frame()
        except UNDECODABLE:
            header = readable_header(self._frame_buffer)
            if header is None:
                raise
            _log.warning(UNREADABLE_PROPERTIES)
            return header
        return result

    def cut(self) -> None:
        """End the connection now, whatever is unsent; its close callback follows."""
        self._terminate_stream(exceptions.ConnectionClosedByClient(320, "cut"))


def _throw(error: Exception) -> None:
    raise error


class BlockingPikaConnection(BlockingConnection):  # type: ignore[misc]  # pika has no types
    """pika's blocking connection, with a `PikaConnection` under it."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, _impl_class=PikaConnection)  # pika means it for tests

    @property
    def blocked(self) -> bool:
        """Whether the broker takes no publications now."""
        return self._impl.blocked is not None

    def corked(self) -> AbstractContextManager[None]:
        """Write at once what is published within."""
        corked: AbstractContextManager[None] = self._impl.corked()
        return corked

    def in_background(self, channel: Any, answered: Callable[[Any], None]) -> Callable[..., None]:
        """Return what publishes over a channel without waiting; `answered` gets the confirms."""

        def wake(frame: Any) -> None:
            answered(frame.method)
            self._request_channel_dispatch(-channel.channel_number)  # ends `listen`

        channel._impl.confirm_delivery(wake)
        publish: Callable[..., None] = channel._impl.basic_publish
        return publish

    def listen(self, channel: Any, seconds: float) -> None:
        """Take what the broker sends, until something came; raises why it closed the channel."""
        channel._process_data_events(seconds)

    def end(self, seconds: float) -> None:
        """Close in an orderly way; at once where the broker reads nothing, or is too slow."""
        if not self.is_open:
            return
        if self.blocked:
            self._impl.cut()
            self.process_data_events(seconds)
            return
        self._impl.ioloop.call_later(seconds, self._impl.cut)
        try:
            self.close()
        except AssertionError:
            # Ctrl-C came in the middle of an order of pika's, which it now finds half done.
            self._impl.cut()
            self.process_data_events(seconds)


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
            return self.call_later(0, partial(on_done, error))
