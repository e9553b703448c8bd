"""Invented people, and messages about them."""

import json
from base64 import b64encode
from dataclasses import replace
from itertools import count
from typing import Any

from worker.core.claims import ClaimRequest, Envelope
from worker.core.delivery import Delivery
from worker.core.digests import Digest
from worker.core.masking import NOBODY

NAME = "欧阳不存在"
ID_CARD = "11010519491231002X"
BANKCARD = "6222021001116245702"
MOBILE = "13800138000"
PORTRAIT = b64encode(b"\xff\xd8\xff\xe0" + bytes(range(256)) * 24).decode()
PERSON = {
    "name": NAME,
    "idCard": ID_CARD,
    "bankcard": BANKCARD,
    "mobile": MOBILE,
    "imgBase64": PORTRAIT,
}
FIELDS_OF_TYPE = {
    0: ("name", "idCard", "bankcard", "mobile"),
    1: ("name", "idCard", "bankcard"),
    2: ("name", "idCard"),
    3: ("name", "idCard", "imgBase64"),
    4: ("name", "idCard", "mobile"),
}

_tags = count(1)


def spec(check_type: int = 2, **person: str | None) -> dict[str, Any]:
    """Return a `personalSpec` with what its check type needs; `person` adds and replaces."""
    user = {name: PERSON[name] for name in FIELDS_OF_TYPE[check_type]}
    return {"checkType": check_type, "personalUser": {**user, **person}}


def request(request_id: str | None = "onb-1", **fields: Any) -> dict[str, Any]:
    """Return a valid request as its publisher builds it; `fields` adds and replaces."""
    body: dict[str, Any] = {"personalSpec": spec()}
    if request_id is not None:
        body["requestId"] = request_id
    return {**body, **fields}


def deliver(body: bytes | dict[str, Any] | None = None, **properties: Any) -> Delivery:
    if body is None:
        body = request()
    if not isinstance(body, bytes):
        body = json.dumps(body, ensure_ascii=False).encode()
    return Delivery(properties.pop("epoch", 1), next(_tags), body, **properties)


def ask(
    request_id: str = "onb-1",
    *,
    fingerprint: bytes = b"\x01" * 32,
    subject: bytes = b"\x02" * 32,
    key_id: str = "k1",
    former: tuple[Digest, ...] = (),
    **rest: Any,
) -> ClaimRequest:
    """Return what the ledger is asked for a request; `rest` replaces other fields."""
    digests = (Digest(key_id, fingerprint, subject), *former)
    asked = ClaimRequest(request_id, digests, "default", 2, True, NOBODY, Envelope(), None, None)
    return replace(asked, **rest)
