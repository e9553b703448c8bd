"""Bodies that their publisher has packed: AMQP's `content_encoding`. Pure."""

import re
import zlib
from contextlib import suppress
from dataclasses import dataclass, replace

from worker.core.delivery import Delivery

# 47: gzip or zlib, whichever it is; some clients send deflate without zlib's head, as in HTTP.
_WBITS = {"gzip": (47,), "x-gzip": (47,), "deflate": (47, -15)}
# What clients write there of a body that is not packed: a character set (kombu, Spring).
_PLAIN = frozenset({"", "identity", "utf-8", "utf8", "us-ascii", "ascii", "binary", "8bit", "7bit"})
# How gzip and zlib begin, and no JSON.
_MAGIC = (b"\x1f\x8b", b"x\x01", b"x^", b"x\x9c", b"x\xda")
_PIECE = 4_096
_SHOWN = re.compile(r"[a-z][a-z-]{0,15}")


@dataclass(eq=False)
class NotUnpacked(Exception):
    """The body is not what its encoding says, or larger; `reason` is a dead letter's."""

    reason: str
    problem: str


def unpacked(delivery: Delivery, limit: int) -> Delivery:
    """Return a delivery with its body unpacked, of at most `limit` bytes; raise `NotUnpacked`.

    It has an encoding afterwards only where that one is not known here.
    """
    if delivery.content_encoding is None:
        return delivery
    # Spring adds its own to what was there: `gzip, UTF-8`, formerly `gzip:UTF-8`.
    names = [each.strip().lower() for each in re.split("[,:]", delivery.content_encoding)]
    packings = [each for each in names if each not in _PLAIN]
    if not packings:
        return replace(delivery, content_encoding=None)
    if len(packings) > 1 or packings[0] not in _WBITS:
        return delivery
    return replace(delivery, body=_unpack(delivery.body, packings[0], limit), content_encoding=None)


def beginning(body: bytes, limit: int) -> bytes:
    """Return what can be unpacked of a body that looks packed, whatever is said of it, or nothing.

    At most `limit` bytes of it, and where it is damaged what stands before that.
    """
    if not body.startswith(_MAGIC):
        return b""
    unpacking, plain, left = zlib.decompressobj(47), [], limit
    with suppress(zlib.error):
        for at in range(0, len(body), _PIECE):
            plain.append(unpacking.decompress(body[at : at + _PIECE], left))
            left -= len(plain[-1])
            if not left:
                break
    return b"".join(plain)


def unknown_encoding(delivery: Delivery) -> str:
    """Return what is wrong with an encoding that is not known here."""
    name = (delivery.content_encoding or "").strip().lower()
    shown = name if _SHOWN.fullmatch(name) else "what it says"
    return f"{shown} is not known here: gzip and deflate are, and none"


def _unpack(body: bytes, packing: str, limit: int) -> bytes:
    for wbits in _WBITS[packing]:
        unpacking = zlib.decompressobj(wbits)
        try:
            plain = unpacking.decompress(body, limit + 1)
        except zlib.error:
            continue
        if len(plain) > limit:
            raise NotUnpacked("too_large", f"is larger than {limit} bytes when unpacked")
        if unpacking.eof and not unpacking.unused_data:
            return plain
    raise NotUnpacked("not_json", f"is not {packing}, or not all of it")
