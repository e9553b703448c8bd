"""Whatever the provider answers is a report; a match and a free call are never made up."""

import re
from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.answers import PERSON, answer_bodies, check, statuses
from tests.fuzz.trees import texts
from worker.provider.bodies import Reply, decode
from worker.provider.codes import classify, retry_after_seconds
from worker.provider.config import ProviderConfig

NO_RECORD = re.compile(ProviderConfig("http://x", "AK", "SK").no_record_pattern)
NOW = datetime(2026, 3, 1, tzinfo=UTC)


# Found here: a charge told in another place than the usual one, told twice, and an echoed number.
@example(
    b'{"result":{"success":false,"detail":[{"chargeFlag":"1"}],"code":"no_record"}}', 401, None
)
@example(b'{"result":{"success":false,"chargeFlag":1,"detail":{"chargeFlag":"0"}}}', 200, None)
@example(b'{"result":{"detail":"{\\"chargeFlag\\":\\"1\\"}"}}', 400, None)
@example(b'{"requestId":"11010519491231002X","error":{"status":"E_11010519491231002X"}}', 400, None)
@given(answer_bodies, statuses, st.none() | st.floats(0, 3600))
def test_any_answer_is_a_report_that_makes_nothing_up(
    body: bytes, status: int, retry_after: float | None
) -> None:
    reply = decode(body, PERSON)
    assert reply is None or isinstance(reply, Reply)
    check(classify(status, reply, retry_after, NO_RECORD), body)


@given(
    texts
    | st.text("0123456789-+.eE ,:GMTFriNov", max_size=40)
    | st.builds(
        lambda seconds: f"{NOW + timedelta(seconds=seconds):%a, %d %b %Y %H:%M:%S GMT}",
        st.integers(-(10**9), 10**9),
    )
)
def test_any_retry_after_is_a_wait_of_an_hour_at_most_or_none(value: str) -> None:
    seconds = retry_after_seconds(value, NOW)
    assert seconds is None or 0 <= seconds <= 3600
