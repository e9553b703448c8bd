"""Messages as anybody may publish them, and what of a person they hold."""

from types import SimpleNamespace
from typing import Any

import orjson
from hypothesis import strategies as st
from pika import BasicProperties

from tests.fakes.messages import BANKCARD, ID_CARD, MOBILE, PERSON, PORTRAIT, request, spec
from tests.fuzz.trees import changed, dump, texts, tree
from worker.amqp.properties import read_delivery
from worker.contract.internal import PUBLISHED_AS, PUBLISHED_BY
from worker.contract.request_model import RequestV1
from worker.core.delivery import Delivery

NUMBERS = (ID_CARD, BANKCARD, MOBILE)
IDS = ("onb-1", "onb-2", "onb-3")
_NO_NUMBERS = ("name", "imgBase64")
TRACEPARENT = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
_NAMES = [*RequestV1.model_fields, "checkType", "personalUser", *PERSON, "idcard", *NUMBERS]
# Without the image: it would make every example 8 kB long, and one check type has it anyway.
_VALUES = [
    *(value for value in PERSON.values() if value != PORTRAIT),
    ID_CARD.lower(), f"+86{MOBILE}", "6222 0210 0111 6245 702", int(MOBILE), *IDS,
    0, 2, 4, "2030-01-01T00:00:00Z", "2020-01-01T00:00:00+08:00", "web.replies",
    "2030-02-30T00:00:00Z", "9999-12-31T23:59:59-23:59",
]  # fmt: skip

# Without an id of its own the message_id counts; the last five must not or can hardly be used.
_REQUEST_IDS = [*IDS, *IDS, None, ID_CARD, f"onb-{BANKCARD}", "张" * 128, "onb-1 ", "e\u0301"]
_MORE: list[dict[str, Any]] = [
    {},
    {"source": "web", "context": {"applicant": 42}},
    {"expiresAt": "2026-03-01T12:30:00Z", "context": {"a": [1, {"b": None}]}},
    {"expiresAt": "2026-02-30T00:00:00Z"},
    {"expiresAt": "9999-12-31T23:59:59-23:59", "source": MOBILE},
]
valid_requests = st.builds(
    lambda check_type, request_id, more: tree(
        {**request(request_id, personalSpec=spec(check_type)), **more}
    ),
    st.integers(0, 4),
    st.sampled_from(_REQUEST_IDS),
    st.sampled_from(_MORE),
)
bodies = st.builds(dump, valid_requests) | changed(valid_requests, _VALUES, _NAMES)


def _as_pika_gives_it(octets: bytes) -> str | bytes:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets


# A short string of AMQP: 255 bytes at most; what is not UTF-8 comes as bytes.
short_strings = st.none() | st.builds(
    _as_pika_gives_it,
    st.one_of(
        st.binary(max_size=255),
        texts.map(lambda text: text.encode("utf-8", "surrogatepass")[:255]),
        st.sampled_from([*NUMBERS, *IDS, "web.replies", "x" * 255, "张" * 85]).map(str.encode),
        st.just(b"\xff" * 255),
        st.builds(lambda text, number: f"{text}{number}".encode("utf-8", "replace")[:255],
                  texts, st.sampled_from(NUMBERS)),
    ),
)  # fmt: skip
headers: st.SearchStrategy[dict[str, Any] | None] = st.none() | st.dictionaries(
    st.sampled_from(["traceparent", "x-death", "reason", PUBLISHED_BY, PUBLISHED_AS]),
    st.sampled_from(
        [TRACEPARENT, "x" * 9_999, None, 2**63, {"a": [1]}, [{"routing-keys": []}], [1]]
    )
    | short_strings,
)


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    """Return a delivery as pika hands it over, read by us."""
    properties = BasicProperties(
        message_id=draw(short_strings),
        correlation_id=draw(short_strings),
        reply_to=draw(short_strings),
        app_id=draw(short_strings),
        user_id=draw(short_strings),
        headers=draw(headers),
    )
    method = SimpleNamespace(
        delivery_tag=draw(st.integers(1, 2**63)),
        redelivered=False,
        routing_key=draw(short_strings) or "",
    )
    return read_delivery(1, method, properties, draw(bodies), now=1_800_000_000.0)


def numbers_in(body: bytes) -> list[str]:
    """Return the numbers of the person whom a body is about, as any JSON parser finds them.

    What stands as a name counts as none: names may be ordinary words.
    """
    try:
        user = orjson.loads(body)["personalSpec"]["personalUser"]
    except (ValueError, TypeError, LookupError):
        return []
    if not isinstance(user, dict):
        return []
    values = [str(value).upper() for field, value in user.items() if field not in _NO_NUMBERS]
    return [number for number in NUMBERS if number in values]
