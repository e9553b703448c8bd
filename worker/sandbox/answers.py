"""The bodies of answers, in the provider's format (worker/provider/README.md, Answers)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson

from worker.sandbox.person import Person
from worker.sandbox.refusal import Refused

MATCHED = "认证通过"
NOT_MATCHED = "认证不通过"
NO_RECORD = "库中无此号"
SOURCE_FAILED = "数据源异常"

HTML = "text/html; charset=utf-8"
_HTML_PAGE = "<html><body><h1>{title}</h1><p>nginx</p></body></html>\n"


@dataclass(frozen=True, slots=True)
class Occasion:
    """What an answer may mention: the call's own numbers, and the person for the echo."""

    request_id: str
    order_number: str
    person: Person


AuthInfo = Mapping[str, object]
Compose = Callable[[Occasion], bytes]
Detail = Callable[[Occasion, str, str], object]


def json_detail(occasion: Occasion, charge_flag: str, message: str) -> object:
    """Return the usual `detail`: a string that holds JSON."""
    return orjson.dumps(object_detail(occasion, charge_flag, message)).decode()


def object_detail(occasion: Occasion, charge_flag: str, message: str) -> object:
    """Return `detail` as an object, as it once came."""
    return {
        "chargeFlag": charge_flag,
        "message": message,
        "orderNumber": occasion.order_number,
    }


def text_detail(_occasion: Occasion, _charge_flag: str, message: str) -> object:
    """Return `detail` as plain words, so whether it was charged cannot be read from it."""
    return message


def echoing_detail(occasion: Occasion, charge_flag: str, message: str) -> object:
    """Return a `detail` that repeats every field of the person, as vendors' answers may do."""
    fields = {"chargeFlag": charge_flag, "message": message, **occasion.person.fields}
    return orjson.dumps({**fields, "orderNumber": occasion.order_number}).decode()


def answer(
    *,
    success: object = True,
    has_exception: bool = False,
    message: str = MATCHED,
    charge_flag: str = "1",
    detail: Detail = json_detail,
    flat: bool = False,
) -> Compose:
    """Return a composer of answers; `success=None` leaves the field out."""
    verdict = {} if success is None else {"success": success}

    def compose(occasion: Occasion) -> bytes:
        info = {
            **verdict,
            "hasException": has_exception,
            "code": "ok",
            "message": message,
            "detail": detail(occasion, charge_flag, message),
        }
        return _enveloped(occasion, info if flat else {"authInfo": info})

    return compose


def echo(occasion: Occasion) -> bytes:
    """Compose a match whose message and detail repeat the person's data."""
    person = occasion.person
    return answer(message=f"{person.name} {person.number} {MATCHED}", detail=echoing_detail)(
        occasion
    )


def refusal(code: int, status: str, message: str) -> Compose:
    """Return a composer of the provider's error form."""

    def compose(occasion: Occasion) -> bytes:
        return refusal_body(occasion.request_id, Refused(code, status, message))

    return compose


def refusal_body(request_id: str, refused: Refused) -> bytes:
    """Return one error in the provider's form."""
    error = {
        "code": refused.code,
        "status": refused.status,
        "message": refused.message,
        "details": [],
    }
    return orjson.dumps({"requestId": request_id, "error": error})


def page(title: str) -> Compose:
    """Return a composer of a gateway's HTML page."""
    text = _HTML_PAGE.format(title=title).encode()
    return lambda _occasion: text


def constant(body: bytes) -> Compose:
    """Return a composer of the same bytes always."""
    return lambda _occasion: body


def padded(body: bytes) -> tuple[bytes, bytes]:
    """Return what stands before and after a huge answer's padding, so that the whole is JSON."""
    return body.removesuffix(b"}") + b',"padding":"', b'"}'


def _enveloped(occasion: Occasion, result: AuthInfo) -> bytes:
    return orjson.dumps({"requestId": occasion.request_id, "result": result})
