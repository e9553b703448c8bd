"""URLs of the servers, of the provider and of its proxy: what is wrong with one, in words.

A problem says what to write instead and never quotes the URL, for it may hold a password.
"""

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

ESCAPES = (
    "write %23 for #, %25 for %, %2F for /, %3A for :, %3F for ?, %40 for @, %5B for [, %5D for ]"
)
ADVICE = f"in user and password {ESCAPES}"
PORT = "its port must be a number from 1 to 65535"
_BRACKETS = "an IPv6 address stands in brackets, as in [::1]"
# Underscores are no part of DNS, and stand in names of containers.
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_PARAMETER = re.compile(r"[A-Za-z_-]{1,40}")


def _authority(text: str, *schemes: str) -> str:
    """Return what stands before the path of a URL with one of these schemes."""
    if text != text.strip():
        raise ValueError("begins or ends with a blank or a newline: take it away")
    starts = [f"{scheme}://" for scheme in schemes]
    if not text.startswith(tuple(starts)):
        raise ValueError(f"must begin with {' or '.join(starts)}")
    if any(sign.isspace() or not sign.isprintable() for sign in text):
        raise ValueError("must hold no blank and no control character")
    rest = text.partition("://")[2]
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if "@" in rest and "@" not in authority:
        sign = rest[len(authority)]
        raise ValueError(f"holds a {sign} before its @: {ADVICE}")
    if "#" in rest:
        raise ValueError("holds a #: write %23 for it")
    return authority


def split_url(text: str, *schemes: str) -> SplitResult:
    """Return the parts of a URL with one of these schemes; raise `ValueError` in words."""
    authority = _authority(text, *schemes)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        place = authority.rpartition("@")[2]
        is_ipv6 = "[" in place or "]" in place or place.count(":") > 1
        problem = _BRACKETS if is_ipv6 else f"{PORT}, and {ADVICE}"
        raise ValueError(problem) from None
    if port == 0:
        raise ValueError(PORT)
    if (unlike_any := host_problem(parts.hostname or "")) is not None:
        raise ValueError(unlike_any)
    return parts


def host_problem(host: str) -> str | None:
    """Return in words why nothing can have this name or address; None: it may exist."""
    if not host:
        return "names no host"
    if ":" in host:
        try:
            ip_address(host)
        except ValueError:
            return f"names no host: {_BRACKETS}"
        return None
    try:
        is_one = not host.isascii() or _HOST.fullmatch(host) is not None
        host.encode("idna")
    except UnicodeError:
        is_one = False
    return None if is_one else "names a host that cannot be one: was a variable not filled in?"


def check_amqp_url(text: str) -> None:
    """Raise `ValueError` unless this is a broker's URL; its parameters are pika's to judge."""
    parts = split_url(text, "amqp", "amqps")
    if parts.username is not None and parts.password is None:
        raise ValueError("names a user without a password: amqp://user:password@host:5672/vhost")
    if parts.path.removeprefix("/").removesuffix("/").count("/"):
        raise ValueError("names a vhost with a /: write %2F for it")


def check_database_url(text: str) -> None:
    """Raise `ValueError` unless this is PostgreSQL's; all else is libpq's to judge."""
    _authority(text, "postgresql")


def check_provider_url(text: str) -> None:
    """Raise `ValueError` unless this is an address that a call can be posted to."""
    parts = split_url(text, "https", "http")
    _refuse_parameters(parts)
    if "@" in parts.netloc:
        keys = "PROVIDER_ACCESS_KEY and PROVIDER_SECRET_KEY"
        raise ValueError(f"must hold no user and no password: {keys} do")
    if not text.isascii():
        raise ValueError("must be ASCII: write xn-- for such a host and %XX in the path")


def check_proxy_url(text: str) -> None:
    """Raise `ValueError` unless this is a proxy's address, with or without a user."""
    parts = split_url(text, "http")
    _refuse_parameters(parts)
    if parts.port is None or parts.path not in ("", "/"):
        raise ValueError("must be written as http://host:port or http://user:password@host:port")


def _refuse_parameters(parts: SplitResult) -> None:
    if parts.query:
        name = re.split("[=&]", parts.query, maxsplit=1)[0]
        raise ValueError(f"takes no parameters, and so not {shown_parameter(name)}")


def shown_parameter(name: str) -> str:
    """Return a parameter's name where it looks like one: it may be a piece of a secret."""
    return name if _PARAMETER.fullmatch(name) else "what stands after its ?"
