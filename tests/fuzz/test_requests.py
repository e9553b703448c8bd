"""Whatever is published is accepted, refused or unreadable, and says nothing about the person."""

from hypothesis import example, given
from hypothesis import strategies as st

from tests.fakes.clock import START
from tests.fakes.messages import ID_CARD, PERSON, deliver, spec
from tests.fuzz.messages import bodies, deliveries, numbers_in
from worker.contract.request_v1 import Accepted, Reading, Refused, RequestReader, Unreadable
from worker.core.checks import CheckPolicy, IdCardCheck, LuhnCheck
from worker.core.delivery import Delivery
from worker.core.request import PortraitFields

LIMIT = 100_000
policies = st.builds(
    CheckPolicy,
    st.sampled_from(IdCardCheck),
    st.sampled_from(LuhnCheck),
    st.sampled_from(PortraitFields),
)


def read(delivery: Delivery, policy: CheckPolicy | None = None) -> Reading:
    return RequestReader(policy or CheckPolicy(), LIMIT).read(delivery, START.date())


def kept(reading: Reading) -> str:
    """Return all texts of a reading that go into rows, events or the log."""
    match reading:
        case Accepted(request, _, warnings):
            own = [request.request_id, request.source, request.context, *warnings]
        case Refused(request_id, source, _, problems):
            own = [request_id, source, *problems]
        case Unreadable(reason, problem):
            own = [reason, problem]
    envelope = reading.envelope
    return "\n".join(map(str, [*own, envelope.reply_to, envelope.correlation_id])).upper()


# Found here: without a usable id the properties went on as they were.
@example(deliver({"personalSpec": spec()}, reply_to=ID_CARD), CheckPolicy())
@example(deliver({"personalSpec": {**spec(), "x": 1}}, correlation_id=ID_CARD), CheckPolicy())
@given(deliveries(), policies)
def test_a_message_is_read_and_no_number_of_its_person_is_kept(
    delivery: Delivery, policy: CheckPolicy
) -> None:
    reading = read(delivery, policy)
    assert isinstance(reading, Reading)
    said = kept(reading)
    assert not [number for number in numbers_in(delivery.body) if number in said]


@given(bodies, policies)
def test_problems_never_quote_a_value(body: bytes, policy: CheckPolicy) -> None:
    reading = read(deliver(body, message_id="m-1"), policy)
    match reading:
        case Accepted():
            said = repr(reading.warnings)
        case Refused():
            said = repr(reading.problems)
        case Unreadable():
            said = repr(reading.problem)
    assert not [value for value in PERSON.values() if value in said]


@given(deliveries())
def test_two_readings_of_a_message_are_the_same(delivery: Delivery) -> None:
    """What was refused once is refused again, by whoever gets it."""
    assert repr(read(delivery)) == repr(read(delivery))
