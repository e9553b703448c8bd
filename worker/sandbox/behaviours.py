"""What the sandbox can do with an admitted call: answers in the provider's format, and faults.

The format of answers: worker/provider/README.md, Answers. Plain data and pure functions; the
module `application` carries them out.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import orjson

from worker.sandbox.admission import CallRefused, PersonalUser

MATCHED = "认证通过"

JSON = "application/json"
HTML = "text/html; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Occasion:
    """What an answer may mention: the call's own numbers, and the person for the echo."""

    request_id: str
    order_number: str
    person: PersonalUser


Headers = tuple[tuple[str, str], ...]
Body = Callable[[Occasion], bytes]
Detail = Callable[[dict[str, str]], object]


class Manner(StrEnum):
    """How an answer travels."""

    WHOLE = "whole"
    #: After `slow_seconds`.
    SLOW = "slow"
    #: Half of what Content-Length promises, then the connection closes.
    TRUNCATED = "truncated"
    #: The head at once, the body a byte at a time.
    DRIPPED_BODY = "dripped_body"
    #: Everything a byte at a time, status line first: no read timeout ever fires.
    DRIPPED = "dripped"
    #: Chunked, padded with `huge_bytes`.
    HUGE = "huge"
    #: Not at all, until the client gives up or `hang_seconds` are over.
    NEVER = "never"
    #: Not at all: the connection is reset (RST).
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Act:
    """What is done about one call."""

    body: Body = lambda _occasion: b""
    charged: bool = False
    status: int = 200
    manner: Manner = Manner.WHOLE
    headers: Headers = ()
    content_type: str = JSON


@dataclass(frozen=True, slots=True)
class AtFirst:
    """Do one thing on a person's first `times` calls; all later ones are a match.

    A person is an ID number with a name, so tests that use different names are independent.
    """

    times: int
    #: The name of a row of the magic table that is an act.
    act: str


Behaviour = Act | AtFirst


def in_json(fields: dict[str, str]) -> str:
    """Return the usual `detail`: a string that holds JSON."""
    return orjson.dumps(fields).decode()


def answer(
    *,
    success: object = True,
    has_exception: bool = False,
    message: str = MATCHED,
    charged: bool = True,
    detail: Detail = in_json,
    flat: bool = False,
    echo: bool = False,
    status: int = 200,
    manner: Manner = Manner.WHOLE,
) -> Act:
    """Return the act that answers in the provider's format: a charged match, unless told otherwise.

    `success=None` leaves the field out, `detail` makes that field of charge flag, message and order
    number, `echo` repeats the person in message and detail, as vendors' answers may do.
    """

    def compose(occasion: Occasion) -> bytes:
        person = occasion.person
        fields = {
            **(person.fields if echo else {}),
            "chargeFlag": "1" if charged else "0",
            "message": f"{person.name} {person.number} {message}" if echo else message,
            "orderNumber": occasion.order_number,
        }
        info = {
            **({} if success is None else {"success": success}),
            "hasException": has_exception,
            "code": "ok",
            "message": fields["message"],
            "detail": detail(fields),
        }
        result: Mapping[str, object] = info if flat else {"authInfo": info}
        return orjson.dumps({"requestId": occasion.request_id, "result": result})

    return Act(compose, charged, status, manner)


def error(code: int, status: str, message: str, headers: Headers = ()) -> Act:
    """Return the act that answers with the provider's error form."""
    refused = CallRefused(code, status, message)
    return Act(
        lambda occasion: error_body(occasion.request_id, refused), status=code, headers=headers
    )


def error_body(request_id: str, refused: CallRefused) -> bytes:
    """Return one error in the provider's form."""
    error = {"code": refused.code, "status": refused.status, "message": refused.message}
    return orjson.dumps({"requestId": request_id, "error": {**error, "details": []}})


def fixed(body: bytes, status: int = 200, content_type: str = JSON) -> Act:
    """Return the act that answers with the same bytes always; it is not charged."""
    return Act(lambda _occasion: body, status=status, content_type=content_type)


def page(title: str, status: int) -> Act:
    """Return the act that answers with a gateway's HTML page."""
    text = f"<html><body><h1>{title}</h1><p>nginx</p></body></html>\n"
    return fixed(text.encode(), status, HTML)
