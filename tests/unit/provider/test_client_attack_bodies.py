"""Bodies that harm: strange words and floods. A report comes of each, and soon."""

import gzip
import tracemalloc
from collections.abc import Iterator
from time import thread_time

import pytest

from tests.unit.provider.scripted import (
    MISMATCH,
    OK,
    Act,
    Exchange,
    answer,
    ask_two,
    connect,
    serve,
)
from worker.core.outcome import CallClass, Charged, Outcome

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
