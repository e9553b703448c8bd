"""Whatever is published is accepted, refused or unreadable, and says nothing about the person."""

from hypothesis import example, given
from hypothesis import strategies as st

from tests.fakes.clock import START
from tests.fakes.messages import ID_CARD, PERSON, deliver, spec
from tests.fuzz.messages import deliveries, numbers_in
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


def problems(reading: Reading) -> list[str]:
    """Return what is said to be wrong with a message."""
    match reading:
        case Accepted():
            return [str(each) for each in reading.warnings]
        case Refused():
            return [str(each) for each in reading.problems]
        case Unreadable():
            return [str(reading.problem)]


def kept(reading: Reading) -> str:
    """Return all texts of a reading that go into rows, events or the log."""
    match reading:
        case Accepted(request):
            own = [request.request_id, request.source, request.context]
        case Refused(request_id, source):
            own = [request_id, source]
        case Unreadable(reason):
            own = [reason]
    envelope = [reading.envelope.reply_to, reading.envelope.correlation_id]
    return "\n".join(map(str, [*own, *problems(reading), *envelope])).upper()


# Found here: without a usable id the properties went on as they were.
@example(deliver({"personalSpec": spec()}, reply_to=ID_CARD), CheckPolicy())
@example(deliver({"personalSpec": {**spec(), "x": 1}}, correlation_id=ID_CARD), CheckPolicy())
@given(deliveries(), policies)
def test_a_message_is_read_alike_each_time_and_nothing_of_its_person_is_kept(
    delivery: Delivery, policy: CheckPolicy
) -> None:
    reading = read(delivery, policy)
    assert isinstance(reading, Reading)
    said = kept(reading)
    assert not [number for number in numbers_in(delivery.body) if number in said]
    wrong = "".join(problems(reading))
    assert not [value for value in PERSON.values() if value in wrong]
    # What was refused once is refused again, by whoever gets it.
    assert repr(read(delivery, policy)) == repr(reading)
