"""The proxy does what a test orders, where the tests behind it would not notice."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.chaos.proxy import TO_CLIENT, TO_SERVER, Proxy


@pytest.fixture
def server() -> Iterator[socket.socket]:
    """Listen, and answer every connection with its own bytes."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=_echo_all, args=(listener,))
        thread.start()
        yield listener
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def _echo_all(listener: socket.socket) -> None:
    threads = []
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            break
        threads.append(threading.Thread(target=_echo, args=(connection,)))
        threads[-1].start()
    for thread in threads:
        thread.join()


def _echo(connection: socket.socket) -> None:
    try:
        with connection:
            while data := connection.recv(65_536):
                connection.sendall(data)
    except ConnectionError:
        return


@pytest.fixture
def proxy(server: socket.socket) -> Iterator[Proxy]:
    with Proxy(*server.getsockname()) as running:
        yield running


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), 10)


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


@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT])
def test_a_cut_lets_the_bytes_before_it_through_and_no_more(proxy: Proxy, direction: str) -> None:
    with connect(proxy) as client:
        client.sendall(b"before")
        assert receive(client, 6) == b"before"
        proxy.cut_after(10, TO_SERVER if direction == TO_SERVER else TO_CLIENT)
        client.sendall(b"x" * 4)
        assert receive(client, 4) == b"x" * 4
        client.sendall(b"x" * 100)
        received = receive_until_reset(client)
    assert received == (b"" if direction == TO_SERVER else b"x" * 6)
    assert proxy.bytes[TO_CLIENT if direction == TO_CLIENT else TO_SERVER] == 16
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
