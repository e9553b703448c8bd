"""Answers that harm: broken frames, surplus ones, floods, strange words. A report comes of each.

After each attack the same client asks about the next person, who gets an answer of their own.
"""

import gzip
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from time import thread_time

import pytest

from tests.unit.provider.scripted import (
    ASKED,
    MATCH,
    MISMATCH,
    OK,
    OPEN,
    PORTRAIT,
    WHOLE,
    Act,
    Certificate,
    Exchange,
    ScriptedServer,
    answer,
    ask_two,
    await_news,
    connect,
    raw,
    reset,
    serve,
)
from worker.core.outcome import CallClass, Charged, Outcome

CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
A_CHUNK = b"%x\r\n%b\r\n" % (len(MATCH), MATCH)
# As much as the client's buffer takes in one reading: what comes next stays in the layer below.
ONE_READING = 8_192


BROKEN = [
    b"",
    OK[:-4],
    OK + b"x: y\r\n" * 200,
    OK + b"x: " + b"y" * 99_999 + b"\r\n\r\n" + MATCH,
    WHOLE[:-9],
    OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    OK + b"Content-Length: -1\r\n\r\n{}",
    # read(-1) would read for ever, and the others are numbers for int() alone.
    *[CHUNKED + size + b"\r\n" + MATCH + b"\r\n0\r\n\r\n"
      for size in (b"-1", b"-5", b"+%x" % len(MATCH), b"0x%x" % len(MATCH), b"1_0", b"", b"zz",
                   b" %x" % len(MATCH), b"f" * 20)],
    CHUNKED + A_CHUNK,
    CHUNKED + b"1\r\n" + A_CHUNK + b"0\r\n\r\n",
    CHUNKED + b"9" * 70_000,
    OK + b"Content-Length: 1\r\n 15\r\n\r\n" + MATCH,
    OK + b"Content-Length: 1e2\r\n\r\n" + MATCH,
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + WHOLE,
    b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000 + WHOLE,
    b"HTTP/1.1 103 Early Hints\r\n" + b"link: x\r\n" * 1_000 + b"\r\n" + WHOLE,
    OK + b"retry-after: 1\r\n" * 100_000 + b"\r\n" + MATCH,
    b"HTTP/1.1 200" + b" " * 100_000 + b"\r\n\r\n" + MATCH,
    b"SSH-2.0-OpenSSH\r\n\r\n",
    b"\x15\x03\x01\x00\x02\x02\x50",  # a TLS alert
]  # fmt: skip


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(reset, id="a reset"),
        pytest.param(answer(b"nope", close=True, Content_Encoding="gzip"), id="not compressed"),
        *[
            pytest.param(
                raw(data, close=not data.endswith(b"}")),
                id=repr(data.removeprefix(CHUNKED).removeprefix(OK)[:24]),
            )
            for data in BROKEN
        ],
    ],
)
def test_without_a_whole_answer_a_sent_call_is_in_doubt_and_its_connection_closed(
    act: Act,
) -> None:
    server = serve(act, answer(MISMATCH))
    # Three tries would be allowed: none may be made.
    report = ask_two(connect(server.url, free_tries=3))
    assert (report.call_class, report.charged) == (CallClass.IN_DOUBT, Charged.UNKNOWN)
    assert (report.sends, report.verdict, server.connections) == (1, None, 2)


LAST = b"0\r\n\r\n"
SURPLUS = {
    "two answers in one piece": (WHOLE + WHOLE, "answered"),
    "a line end too many": (WHOLE + b"\r\n", "answered"),
    "after the chunks": (CHUNKED + A_CHUNK + LAST + WHOLE, "answered"),
    "after a trailer": (CHUNKED + A_CHUNK + b"0\r\nx: y\r\n\r\n" + WHOLE, "answered"),
    "too short": (OK + b"Content-Length: 5\r\n\r\n" + b"{}   " + MATCH, "in_doubt"),
    "an empty one first": (OK + b"Content-Length: 0\r\n\r\n" + WHOLE, "in_doubt"),
    "no content, and yet some": (b"HTTP/1.1 204 No\r\n\r\n" + WHOLE, "in_doubt"),
    # What a gateway that goes by the length leaves behind would begin with a chunk's end.
    "framed in two ways": (
        CHUNKED[:-2] + b"Content-Length: 5\r\n\r\n" + A_CHUNK + LAST,
        "answered",
    ),
}


@pytest.mark.parametrize(("data", "call_class"), SURPLUS.values(), ids=SURPLUS)
def test_a_surplus_answer_is_never_the_next_requests_answer(data: bytes, call_class: str) -> None:
    server = serve(raw(data, close=False), answer(MISMATCH))
    assert ask_two(connect(server.url)).call_class == call_class
    assert server.connections == 2


def test_a_surplus_answer_in_the_tls_layer_is_never_the_next_requests_answer(
    certificate: Certificate,
) -> None:
    """One record holds both: after the first is read, the socket says that nothing waits."""
    ca_file, tls = certificate()
    padding = b"x: " + b"y" * (ONE_READING - len(WHOLE) - len(b"x: \r\n")) + b"\r\n"
    first = OK + padding + WHOLE.removeprefix(OK)
    assert len(first) == ONE_READING
    server = serve(raw(first + WHOLE, close=False), answer(MISMATCH), tls=tls)
    assert ask_two(connect(server.url, ca_file=ca_file)).verdict is Outcome.MATCH
    assert server.connections == 2


def test_a_surplus_answer_that_comes_while_the_connection_idles_is_not_read() -> None:
    first_is_read = threading.Event()

    def answer_twice(exchange: Exchange) -> bool:
        exchange.sock.sendall(WHOLE)
        assert first_is_read.wait(60)
        exchange.sock.sendall(WHOLE)
        return True

    server = serve(answer_twice, answer(MISMATCH))
    client = connect(server.url)
    assert client.verify(ASKED).verdict is Outcome.MATCH
    first_is_read.set()
    await_news(client)
    assert client.verify(ASKED).verdict is Outcome.MISMATCH
    assert server.connections == 2


@pytest.mark.parametrize("status", [100, 102, 103], ids=["continue", "processing", "hints"])
def test_interim_answers_are_passed_over_and_the_connection_is_kept(status: int) -> None:
    interim = b"HTTP/1.1 %d Word\r\nLink: x\r\nContent-Length: 9\r\n\r\n" % status
    server = serve(raw(interim + interim + WHOLE, close=False), answer(MISMATCH))
    assert ask_two(connect(server.url)).verdict is Outcome.MATCH
    assert server.connections == 1


class HastyServer(ScriptedServer):
    """Answers each connection at its first bytes, whatever they are, and closes it."""

    def __init__(self, words: bytes) -> None:
        self._words = words
        super().__init__()
        OPEN.callback(self.close)

    def play(self, sock: socket.socket, number: int) -> None:
        sock.recv(1_024)
        sock.sendall(self._words)


def test_an_answer_before_the_body_was_read_is_a_report() -> None:
    """The server refuses a large body at its head, and resets what still comes."""
    early = b'{"error":{"status":"OUT_OF_RANGE"}}'
    head = b"HTTP/1.1 413 Large\r\nContent-Length: %d\r\n\r\n" % len(early)
    client = connect(HastyServer(head + early).url)
    for _ in range(5):
        report = client.verify(PORTRAIT)
        assert report.call_class in (CallClass.REFUSED, CallClass.IN_DOUBT)
        assert report.verdict is None


@pytest.mark.parametrize("speech", [WHOLE, b"", b"\x15\x03\x03\x00\x02\x02\x28"])
def test_a_server_that_speaks_no_tls_is_not_sent(speech: bytes) -> None:
    url = HastyServer(speech).url.replace("http:", "https:")
    report = connect(url).verify(ASKED)
    assert (report.call_class, report.charged) == (CallClass.NOT_SENT, Charged.NO)


MEGABYTE = b" " * 1_048_576


@pytest.mark.parametrize(
    "more",
    [
        ',"code":1e308,"message":-0.0,"detail":18446744073709551615',
        ',"message":' + "9" * 400,
        ',"detail":' + "[" * 900 + "]" * 900,
        r',"message":"\u0000\u001f\u202e","\u0063ode":"ok"',
        ',"message":"' + r"\\" * 100_000 + '"',
        ',"detail":"' + r"\\u5f" * 40_000 + '"',
        ',"message":"' + "1 " * 100_000 + '"',
        "".join(f',"k{number}":[]' for number in range(20_000)),
    ],
    ids=lambda more: more[:30],
)
def test_strange_words_in_an_answer_cost_neither_the_verdict_nor_time(more: str) -> None:
    body = f'{{"result":{{"success":true{more}}}}}'.encode()
    before = thread_time()
    report = ask_two(connect(serve(answer(body), answer(MISMATCH)).url))
    # Only a number without end is no JSON for us.
    expected = None if "9" * 400 in more else Outcome.MATCH
    assert report.verdict is expected
    assert thread_time() - before < 2  # of a processor; quadratic reading took 12


def pour(head: bytes, piece: bytes, pieces: int) -> Act:
    """Send one piece again and again, while somebody reads it."""

    def act(exchange: Exchange) -> bool:
        exchange.sock.sendall(OK + head + b"\r\n\r\n")
        for _ in range(pieces):
            exchange.sock.sendall(piece)
        return False

    return act


BOMB = gzip.compress(MEGABYTE * 100)
FLOODS = {
    "a length": pour(b"Content-Length: 104857600", MEGABYTE, 100),
    "no length": pour(b"Server: x", MEGABYTE, 100),
    "chunks": pour(b"Transfer-Encoding: chunked", b"100000\r\n" + MEGABYTE + b"\r\n", 100),
    "an endless chunk": pour(b"Transfer-Encoding: chunked\r\n\r\n-1", MEGABYTE, 100),
    "a line": pour(b"X: ", MEGABYTE, 100),
    "gzip": answer(BOMB, Content_Encoding="gzip"),
    "gzip twice": answer(gzip.compress(BOMB), Content_Encoding="gzip, gzip"),
    "gzip many times": answer(BOMB, Content_Encoding=", ".join(["gzip"] * 50)),
    "many members": answer(gzip.compress(b"") * 10_000, Content_Encoding="gzip"),
}


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.parametrize("act", FLOODS.values(), ids=FLOODS)
def test_a_flood_is_cut_off_in_little_memory(act: Act, traced: None) -> None:
    client = connect(serve(act, answer(MISMATCH)).url)
    tracemalloc.reset_peak()
    before, _ = tracemalloc.get_traced_memory()
    report = ask_two(client)
    _, peak = tracemalloc.get_traced_memory()
    assert report.call_class in (CallClass.PROTOCOL_ERROR, CallClass.IN_DOUBT)
    assert (report.verdict, report.charged) == (None, Charged.UNKNOWN)
    assert peak - before < 2_500_000  # the limit of 256 KiB, and copies of it
