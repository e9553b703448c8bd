"""Answers that harm: broken frames, surplus ones, false certificates. A report comes of each.

After each attack the same client asks about the next person, who gets an answer of their own.
"""

import socket
import threading
from contextlib import suppress

import pytest

from tests.unit.provider.scripted import (
    ASKED,
    MATCH,
    MISMATCH,
    OK,
    PORTRAIT,
    WHOLE,
    Certificate,
    Exchange,
    answer,
    ask_two,
    connect,
    raw,
    serve,
)
from worker.core.outcome import CallClass, Charged, Outcome

CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
A_CHUNK = b"%x\r\n%b\r\n" % (len(MATCH), MATCH)
# As much as the client's buffer takes in one reading: what comes next stays in the layer below.
ONE_READING = 8_192


@pytest.mark.parametrize(
    "data",
    [
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
        b"HTTP/2 200 OK\r\n\r\n" + MATCH,
        b"\x15\x03\x01\x00\x02\x02\x50",  # a TLS alert
    ],
    ids=lambda data: repr(data.removeprefix(CHUNKED).removeprefix(OK)[:24]),
)  # fmt: skip
def test_an_answer_whose_framing_is_broken_is_in_doubt_and_its_connection_closed(
    data: bytes,
) -> None:
    server = serve(raw(data, close=not data.endswith(b"}")), answer(MISMATCH))
    report = ask_two(connect(server.url, free_tries=3, read_timeout=0.5))
    assert (report.call_class, report.charged) == (CallClass.IN_DOUBT, Charged.UNKNOWN)
    assert (report.sends, report.verdict, server.connections) == (1, None, 2)


@pytest.mark.parametrize(
    ("data", "call_class"),
    [
        pytest.param(WHOLE + WHOLE, "answered", id="two answers in one piece"),
        pytest.param(WHOLE + b"\r\n", "answered", id="a line end too many"),
        pytest.param(CHUNKED + A_CHUNK + b"0\r\n\r\n" + WHOLE, "answered", id="after the chunks"),
        pytest.param(
            CHUNKED + A_CHUNK + b"0\r\nx: y\r\n\r\n" + WHOLE, "answered", id="after a trailer"
        ),
        pytest.param(
            OK + b"Content-Length: 5\r\n\r\n" + b"{}   " + MATCH, "in_doubt", id="too short"
        ),
        pytest.param(
            OK + b"Content-Length: 0\r\n\r\n" + WHOLE, "in_doubt", id="an empty one first"
        ),
        pytest.param(
            b"HTTP/1.1 204 No\r\n\r\n" + WHOLE, "in_doubt", id="no content, and yet some"
        ),
        # What a gateway that goes by the length leaves behind would begin with a chunk's end.
        pytest.param(
            CHUNKED[:-2] + b"Content-Length: 5\r\n\r\n" + A_CHUNK + b"0\r\n\r\n", "answered",
            id="framed in two ways",
        ),
    ],
)  # fmt: skip
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
    first_is_read, surplus_is_sent = threading.Event(), threading.Event()

    def answer_twice(exchange: Exchange) -> bool:
        exchange.sock.sendall(WHOLE)
        assert first_is_read.wait(5)
        exchange.sock.sendall(WHOLE)
        surplus_is_sent.set()
        return True

    server = serve(answer_twice, answer(MISMATCH))
    client = connect(server.url)
    assert client.verify(ASKED).verdict is Outcome.MATCH
    first_is_read.set()
    assert surplus_is_sent.wait(5)
    assert client.verify(ASKED).verdict is Outcome.MISMATCH
    assert server.connections == 2


@pytest.mark.parametrize("status", [100, 102, 103], ids=["continue", "processing", "hints"])
def test_interim_answers_are_passed_over_and_the_connection_is_kept(status: int) -> None:
    interim = b"HTTP/1.1 %d Word\r\nLink: x\r\nContent-Length: 9\r\n\r\n" % status
    server = serve(raw(interim + interim + WHOLE, close=False), answer(MISMATCH))
    assert ask_two(connect(server.url)).verdict is Outcome.MATCH
    assert server.connections == 1


def test_an_answer_before_the_body_was_read_is_a_report() -> None:
    """The server refuses a large body at its head, and resets what still comes."""
    early = b'{"error":{"status":"OUT_OF_RANGE"}}'
    head = b"HTTP/1.1 413 Large\r\nContent-Length: %d\r\n\r\n" % len(early)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse_early() -> None:
            with suppress(OSError):
                while True:
                    sock, _ = listener.accept()
                    with sock:
                        sock.recv(1_024)
                        sock.sendall(head + early)

        thread = threading.Thread(target=refuse_early)
        thread.start()
        client = connect(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        reports = [client.verify(PORTRAIT) for _ in range(5)]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    for report in reports:
        assert report.call_class in (CallClass.REFUSED, CallClass.IN_DOUBT)
        assert report.verdict is None


@pytest.mark.parametrize("speech", [WHOLE, b"", b"\x15\x03\x03\x00\x02\x02\x28"])
def test_a_server_that_speaks_no_tls_is_not_sent(speech: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(4_096)
                sock.sendall(speech)

        thread = threading.Thread(target=speak)
        thread.start()
        report = connect(f"https://127.0.0.1:{listener.getsockname()[1]}/").verify(ASKED)
        thread.join()
    assert (report.call_class, report.charged) == (CallClass.NOT_SENT, Charged.NO)
