"""The real client against a server that says anything at all: always a report, always soon."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.answers import ASKED, answer_bodies, check, check_texts, statuses
from tests.fuzz.trees import texts
from tests.unit.provider.scripted import Exchange, ScriptedServer
from worker.core.outcome import CallClass
from worker.provider.client import PersonalAuthClient
from worker.provider.config import ProviderConfig

# A connection for each example costs more than all the rest; the pure functions see all examples.
FEWER = settings(max_examples=max(15, settings().max_examples // 50))
# Far above what an answer on a stalled machine takes, far below the test's patience.
DEADLINE = 60.0


@pytest.fixture(scope="module")
def babbler() -> Iterator[tuple[PersonalAuthClient, list[bytes]]]:
    """Give a client whose provider answers with the bytes in the list and hangs up."""
    answers = [b""]

    def babble(exchange: Exchange) -> bool:
        exchange.sock.sendall(answers[0])
        return False

    server = ScriptedServer(babble)
    config = ProviderConfig(
        server.url, "AK", "SK", free_tries=1,
        connect_timeout=DEADLINE, read_timeout=DEADLINE, call_deadline=DEADLINE,
    )  # fmt: skip
    with PersonalAuthClient(config) as client:
        yield client, answers
    server.close()


names = st.sampled_from(
    ["Content-Length", "Transfer-Encoding", "Content-Encoding", "Connection", "Retry-After",
     "Keep-Alive", "X"]
)  # fmt: skip
values = st.one_of(
    st.sampled_from(["0", "1", "10", "-1", "9" * 20, "chunked", "gzip", "identity", "close",
                     "timeout=0", "Sun, 01 Mar 2026 00:00:00 GMT", "0, 0"]),
    texts,
)  # fmt: skip


@st.composite
def answers(draw: st.DrawFn) -> tuple[bytes, bytes | None]:
    """Return the bytes of an answer, and its body where the headers describe it truly."""
    body = draw(answer_bodies)
    honest = draw(st.booleans())
    headers = [] if honest else draw(st.lists(st.tuples(names, values), max_size=3))
    if honest or draw(st.booleans()):
        headers.append(("Content-Length", str(len(body))))
    lines = [f"HTTP/1.1 {draw(statuses)} Word", *(f"{name}: {value}" for name, value in headers)]
    head = "\r\n".join(lines).encode("utf-8", "surrogatepass")
    return head + b"\r\n\r\n" + body, body if honest else None


@FEWER
@given(answers())
def test_any_answer_over_a_socket_is_a_report(
    babbler: tuple[PersonalAuthClient, list[bytes]], answer: tuple[bytes, bytes | None]
) -> None:
    client, said = babbler
    said[:], body = [answer[0]], answer[1]
    report = client.verify(ASKED)
    assert report.seconds < DEADLINE
    if body is None:
        check_texts(report)
    else:
        check(report, body)


@FEWER
@given(st.binary(max_size=300))
def test_any_bytes_over_a_socket_are_a_report_and_no_answer(
    babbler: tuple[PersonalAuthClient, list[bytes]], data: bytes
) -> None:
    client, said = babbler
    said[:] = [data]
    report = client.verify(ASKED)
    assert report.call_class is not CallClass.ANSWERED
    assert report.call_class is not CallClass.NOT_SENT
