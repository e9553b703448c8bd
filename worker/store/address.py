"""Where the database is: DATABASE_URL as libpq reads it, in its own form or in SQLAlchemy's.

What is wrong with a URL is told in words of ours: libpq's quote it, and with it the password.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import NoReturn
from urllib.parse import unquote

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from worker.settings import SettingsInvalid

_UNREADABLE = (
    "cannot be read as postgresql://user:password@host:port/name?parameter=value: in user and"
    " password, write %40 for @, %2F for /, %3A for : and %25 for %"
)

# SQLAlchemy's several hosts: `?host=one:5432&host=two:5433`. libpq would take the last one.
_HOST = re.compile(r"[?&]host=([^&]*)")
_WITH_PORT = re.compile(r"([A-Za-z0-9.-]*):([0-9]+)")

_UNKNOWN = re.compile(r'invalid URI query parameter: "(\w+)"')
_BAD_VALUE = re.compile(r"(?:invalid (\w+) value|bad value for (\w+))")

# Nobody listens there: libpq looks at all values first, and then it fails at once.
_NOWHERE = {"host": "/nowhere", "hostaddr": "", "port": ""}
_FAILED_THERE = "on socket"


def connection_parameters(url: str) -> dict[str, str]:
    """Return libpq's parameters of a URL; raise `SettingsInvalid` if it is of no use.

    Of several hosts the one that can be written to is wanted, unless the URL says otherwise.
    """
    if re.search(r"\s", url):
        _refuse("holds a space or a line break, perhaps at its end: take it out, or write %20")
    # A single % in a password is meant as it stands.
    url = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", url)
    try:
        named = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    except psycopg.Error as error:
        _refuse(_why_unreadable(str(error), url))
    hosts = [unquote(each) for each in _HOST.findall(url)]
    if len(hosts) > 1 or any(map(_WITH_PORT.fullmatch, hosts)):
        parts = [
            (found[1], found[2]) if (found := _WITH_PORT.fullmatch(each)) else (each, "")
            for each in hosts
        ]
        named["host"], named["port"] = (",".join(each) for each in zip(*parts, strict=True))
    _check(named)
    if "," in named.get("host", ""):
        named.setdefault("target_session_attrs", "read-write")
    return named


def _check(named: dict[str, str]) -> None:
    """Refuse what would be found out only by connecting."""
    hosts, ports = named.get("host", "").split(","), named.get("port", "").split(",")
    if not all(map(_is_host, hosts)) or not all(map(_is_port, ports)):
        _refuse(_UNREADABLE)
    if len(ports) not in (1, len(hosts)):
        _refuse("names more hosts than ports, or more ports than hosts: one port for each, or one")
    words = _refusal_of_values(named)
    if _FAILED_THERE not in words:
        found = _BAD_VALUE.search(words)
        name = "a parameter" if found is None else found[1] or found[2]
        _refuse(f"{name} has a value that libpq does not know")


def _is_host(host: str) -> bool:
    try:
        host.encode("idna")
    except UnicodeError:
        return host.startswith("/")
    return "@" not in host


def _is_port(port: str) -> bool:
    return not port or (port.isdecimal() and 0 < int(port) < 1 << 16)


def _refusal_of_values(named: dict[str, str]) -> str:
    """Return what libpq and the driver say of these values, by a connection to nowhere."""
    try:
        psycopg.connect(**{**named, **_NOWHERE}).close()  # type: ignore[arg-type]
    except psycopg.Error as error:
        return str(error)
    return ""


def _why_unreadable(words: str, url: str) -> str:
    found = _UNKNOWN.search(words)
    # With a / in the password libpq takes what follows for something else.
    if found is None or "@" in url.partition("?")[2]:
        return _UNREADABLE
    known = [each.keyword.decode() for each in pq.Conninfo.get_defaults()]
    close = get_close_matches(found[1], known, 1)
    return f"has no parameter {found[1]}" + (f": is {close[0]} meant?" if close else "")


def _refuse(problem: str) -> NoReturn:
    raise SettingsInvalid([f"DATABASE_URL: {problem}"]) from None
