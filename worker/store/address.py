"""Where the database is: DATABASE_URL as libpq reads it, in its own form or in SQLAlchemy's.

What is wrong with a URL is told in words of ours: libpq's quote it, and with it the password.
"""

import re
from difflib import get_close_matches
from typing import NoReturn
from urllib.parse import unquote

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from worker.settings import SettingsInvalid
from worker.settings.addresses import ADVICE, PORT, host_problem, shown_parameter

# SQLAlchemy's several hosts: `?host=one:5432&host=two:5433`. libpq would take the last one.
_HOST = re.compile(r"[?&]host=([^&]*)")
_WITH_PORT = re.compile(r"([A-Za-z0-9._-]*):([0-9]+)")

_UNKNOWN = re.compile(r'invalid URI query parameter: "(.+)"')
_BAD_VALUE = re.compile(r"(?:invalid|bad value for) (\w+)")

# Nobody listens there: libpq looks at all values first, and then it fails at once.
_NOWHERE = {"host": "/nowhere", "hostaddr": "", "port": ""}
_FAILED_THERE = "on socket"


def connection_parameters(url: str) -> dict[str, str]:
    """Return libpq's parameters of a URL; raise `SettingsInvalid` if it is of no use.

    Of several hosts the one that can be written to is wanted, unless the URL says otherwise.
    """
    # A single % in a password is meant as it stands.
    url = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", url)
    try:
        named = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    except psycopg.Error as error:
        _refuse(_why_unreadable(str(error)))
    hosts = [unquote(each) for each in _HOST.findall(url)]
    if len(hosts) > 1 or any(map(_WITH_PORT.fullmatch, hosts)):
        found = [_WITH_PORT.fullmatch(each) or (each, each, "") for each in hosts]
        named["host"], named["port"] = (",".join(each[part] for each in found) for part in (1, 2))
    _check_places(named.get("host", "").split(","), named.get("port", "").split(","))
    _check_values(named)
    if "," in named.get("host", ""):
        named.setdefault("target_session_attrs", "read-write")
    return named


def _check_places(hosts: list[str], ports: list[str]) -> None:
    for host in hosts:
        if "@" in host:
            _refuse(f"holds more than one @: {ADVICE}")
        # None at all is this machine, by a socket.
        if host and not host.startswith("/") and (problem := host_problem(host)):
            _refuse(problem)
    if not all(not port or (port.isdecimal() and 0 < int(port) < 1 << 16) for port in ports):
        _refuse(PORT)
    if len(ports) not in (1, len(hosts)):
        _refuse("must name one port for each host, or one for all")


def _check_values(named: dict[str, str]) -> None:
    """Refuse a value that libpq or its driver would find out only by connecting."""
    try:
        psycopg.connect(**{**named, **_NOWHERE}).close()  # type: ignore[arg-type]
    except psycopg.Error as error:
        words = str(error)
        if _FAILED_THERE not in words:
            found = _BAD_VALUE.search(words)
            name = found[1] if found else "of some name"
            _refuse(f"its parameter {name} has a value that is none")


def _why_unreadable(words: str) -> str:
    if (found := _UNKNOWN.search(words)) is None:
        form = "postgresql://user:password@host:port/name?parameter=value"
        return f"cannot be read as {form}: {ADVICE}"
    known = [each.keyword.decode() for each in pq.Conninfo.get_defaults()]
    close = get_close_matches(found[1], known, 1)
    return f"has no parameter {shown_parameter(found[1])}" + (f" ({close[0]}?)" if close else "")


def _refuse(problem: str) -> NoReturn:
    raise SettingsInvalid([f"DATABASE_URL: {problem}"]) from None
