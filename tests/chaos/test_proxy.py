"""The proxy does what a test orders, where the tests behind it would not notice."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.chaos.proxy import TO_SERVER, Direction, Proxy


class Echo(socketserver.BaseRequestHandler):
    """Answers a connection with its own bytes."""

    def handle(self) -> None:
        """Until it ends, in order or not."""
        with suppress(ConnectionError):
            while data := self.request.recv(65_536):
                self.request.sendall(data)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        with Proxy(f"tcp://127.0.0.1:{server.server_address[1]}") as running:
            yield running
        server.shutdown()
        thread.join()


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), 60)


def receive(client: socket.socket, size: int) -> bytes:
    """Receive so many bytes, or all until the end."""
    received = b""
    while len(received) < size and (data := client.recv(size - len(received))):
        received += data
    return received


def receive_until_reset(client: socket.socket) -> bytes:
    """Receive all until the reset that ends it."""
    received = b""
    while True:
        try:
            data = client.recv(65_536)
        except ConnectionResetError:
            return received
        assert data, "an orderly end"
        received += data


@pytest.mark.parametrize("direction", Direction)
def test_a_cut_lets_the_bytes_before_it_through_and_no_more(
    proxy: Proxy, direction: Direction
) -> None:
    with connect(proxy) as client:
        client.sendall(b"before")
        assert receive(client, 6) == b"before"
        proxy.cut_after(10, direction)
        client.sendall(b"x" * 4)
        assert receive(client, 4) == b"x" * 4
        client.sendall(b"x" * 100)
        received = receive_until_reset(client)
    assert received == (b"" if direction is TO_SERVER else b"x" * 6)
    assert proxy.bytes[direction] == 16
    assert proxy.cuts == 1
    with connect(proxy) as client:  # once
        client.sendall(b"x" * 100)
        assert receive(client, 100) == b"x" * 100


def test_a_delay_lasts_there_and_back(proxy: Proxy) -> None:
    with connect(proxy) as client:
        proxy.delay(0.1)
        begin = time.monotonic()
        client.sendall(b"x")
        assert receive(client, 1) == b"x"
        assert time.monotonic() - begin >= 0.2
        proxy.delay(0)
        client.sendall(b"y")
        assert receive(client, 1) == b"y"


def test_an_order_for_some_leaves_the_others_alone(proxy: Proxy) -> None:
    with connect(proxy) as reader, connect(proxy) as writer:
        for client, name in ((reader, b"I am the reader"), (writer, b"I am the writer")):
            client.sendall(name)
            assert receive(client, len(name)) == name
        proxy.stall(only=b"writer")
        writer.sendall(b"w")
        reader.sendall(b"r")
        assert receive(reader, 1) == b"r"
        writer.settimeout(0.2)
        with pytest.raises(TimeoutError):
            writer.recv(1)
        proxy.reset(only=b"writer")
        with pytest.raises(ConnectionResetError):
            writer.recv(1)
        reader.sendall(b"r")
        assert receive(reader, 1) == b"r"
