"""The bodies of calls: what is sent, byte for byte, and what an answer says. Pure functions.

Reading is lenient where the provider is known to vary (nested or flat, `detail` as text or
object) and strict where a mistake would be a wrong verdict: `success` and `hasException`.
"""

import json
import re
from dataclasses import dataclass

import orjson

from worker.core.masking import holds, scrub
from worker.core.outcome import AuthInfo, Charged
from worker.core.request import Person, VerificationRequest

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_STATUS = re.compile(r"[A-Z0-9_]{1,64}")
# `code` is a word ("ok" is the only one ever seen); a column and a label hold it.
_CODE_LIMIT = 64
_CHARGE_FLAGS = {"1": Charged.YES, "0": Charged.NO}
# A flag that says "charged" wherever it stands, also in a text that is JSON itself.
_CHARGED_SOMEWHERE = re.compile(rb'chargeFlag\\*"\s*:[\s\\"]*1[\s\\"]*[,}]')
# A run of \uXXXX, however often it was escaped: the scrubber knows names unescaped.
# Each run of backslashes is looked at once: a text of nothing else took 12 s otherwise, and no
# other thread runs meanwhile.
_ESCAPES = re.compile(r"(?:(?<!\\)\\++u[0-9A-Fa-f]{4})+")
_HEX = re.compile(r"u([0-9A-Fa-f]{4})")
# Keys that decide about the verdict: one of them twice in the same object is a contradiction.
_DECISIVE = ("result", "authInfo", "success", "hasException")
_QUOTED = [f'"{name}"'.encode() for name in _DECISIVE]


@dataclass(frozen=True, slots=True)
class Reply:
    """What an answer's body says; its texts are scrubbed and bounded.

    `auth_info` is there where the body holds an answer, be it a sound one or not. `charged` is
    what `chargeFlag` says, if it is there; `maybe_charged` that one says "charged" anywhere, be it
    in a place of its own making. `contradictory`: a decisive key says two things.
    """

    request_id: str | None = None
    status: str | None = None
    auth_info: AuthInfo | None = None
    charged: Charged | None = None
    contradictory: bool = False
    maybe_charged: bool = False
    foreign: bool = False
    """Whether this is not the provider's own format: a result or an error, with a requestId."""


def encode(request: VerificationRequest) -> bytes:
    """Return the body of a call: the person's fields, exactly these, compact UTF-8 JSON."""
    user = {field.value: text for field, text in request.person.fields.items()}
    spec = {"checkType": request.check_type.value, "personalUser": user}
    return orjson.dumps({"personalSpec": spec})


def decode(body: bytes, person: Person) -> Reply | None:
    """Return what a body says, without the person's data; None where it is no JSON object."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict):
        return None
    request_id = _word(document.get("requestId"), _REQUEST_ID, person)
    error = document.get("error")
    status = _word(error.get("status"), _STATUS, person) if isinstance(error, dict) else None
    info = _auth_info(document.get("result"))
    maybe_charged = _CHARGED_SOMEWHERE.search(body) is not None
    if info is None:
        foreign = status is None and not _is_the_providers(document)
        return Reply(request_id, status, maybe_charged=maybe_charged, foreign=foreign)
    detail = info.get("detail")
    return Reply(
        request_id,
        status,
        AuthInfo(
            _boolean(info.get("success")),
            _boolean(info.get("hasException")),
            _text(info.get("code"), person, _CODE_LIMIT),
            _text(info.get("message"), person),
            _text(detail, person),
        ),
        _charged(detail) or _charge_flag(info),
        error is not None or _contradicts(body, document["result"], info),
        maybe_charged,
    )


def _is_the_providers(document: dict[str, object]) -> bool:
    named = isinstance(document.get("requestId"), str)
    return isinstance(document.get("result"), dict) or (
        named and ("result" in document or "error" in document)
    )


def _auth_info(result: object) -> dict[str, object] | None:
    """Return the answer, nested (as the document has it) or flat (as JD's SDKs have it)."""
    if not isinstance(result, dict):
        return None
    nested = result.get("authInfo")
    if isinstance(nested, dict):
        return nested
    return result if "success" in result or "hasException" in result else None


def _contradicts(body: bytes, result: dict[str, object], info: dict[str, object]) -> bool:
    # Null says nothing and is like an absent flag; a flag that is something else says nonsense.
    if not isinstance(info.get("hasException"), bool | None):
        return True
    if _differs(result, info):
        return True
    # A key may be spelt with escapes, too; those of ASCII letters begin with 00.
    if b"\\u00" not in body and all(body.count(name) <= 1 for name in _QUOTED):
        return False
    # Rare and then slow: orjson keeps the last of two equal keys and does not tell.
    return _repeats_key(body)


def _differs(result: dict[str, object], info: dict[str, object]) -> bool:
    """Return whether an answer is given both nested and flat, and not the same."""
    return any(
        name in result and (result[name] or False) is not (info.get(name) or False)
        for name in ("success", "hasException")
    )


def _repeats_key(body: bytes) -> bool:
    found = False

    def look(pairs: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal found
        decisive = [name for name, _ in pairs if name in _DECISIVE]
        found = found or len(decisive) > len(set(decisive))
        return dict(pairs)

    try:
        json.loads(body, object_pairs_hook=look)
    except (ValueError, RecursionError):
        return True  # what only one of two parsers can read is not to be trusted
    return found


def _charged(detail: object) -> Charged | None:
    if isinstance(detail, str):
        try:
            detail = orjson.loads(detail)
        except orjson.JSONDecodeError:
            return None
    return _charge_flag(detail) if isinstance(detail, dict) else None


def _charge_flag(holder: dict[str, object]) -> Charged | None:
    flag = holder.get("chargeFlag")
    if isinstance(flag, bool) or not isinstance(flag, str | int):
        return None
    return _CHARGE_FLAGS.get(str(flag).strip())


def _boolean(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _word(value: object, form: re.Pattern[str], person: Person) -> str | None:
    if not isinstance(value, str) or not form.fullmatch(value):
        return None
    # An id is not scrubbed: it is whole or of no use.
    return None if holds(value, person) else value


def _text(value: object, person: Person, limit: int | None = None) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else _dumped(value)
    if "\\" in text:
        text = _ESCAPES.sub(_unescaped, text)
    return scrub(text, person) if limit is None else scrub(text, person, limit)


def _dumped(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # nested more deeply than orjson writes
        return "<unreadable>"


def _unescaped(run: re.Match[str]) -> str:
    units = bytes.fromhex("".join(_HEX.findall(run[0])))
    return units.decode("utf-16-be", "replace")
