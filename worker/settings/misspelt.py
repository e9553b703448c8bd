"""Variables that are meant as a setting of ours and are none: `AMQPURL`, `PREFETCHH`.

Nobody would notice them: the setting keeps its default, and the limit that somebody wrote down
does not hold.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# What Kubernetes gives to each container of a namespace for each of its services, and Docker for a
# link: a service may be named `amqp`, `http` or `database`. `X_PORT` is told by its value.
_OF_A_SERVICE = re.compile(r".+_SERVICE_(HOST|PORT(_.+)?)|.+_PORT_\d+_(TCP|UDP|SCTP)(_.+)?")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://")

# Names that programs of others commonly have, a letter or two from ours.
_OF_OTHERS = {"AMQP_URI", "DATABASE_POOL", "DATABASE_URI", "HTTPS_HOST", "HTTPS_PORT"}

# Of two names that begin alike, without underscores: PROVIDER_CALLS_PER_MIN is 0.93 of
# PROVIDER_CALLS_PER_MINUTE, DATABASE_USER 0.87 of DATABASE_URL.
_ALIKE = 0.92
_BEGINNING = 2


def is_service_address(value: object) -> bool:
    """Return whether this is what Kubernetes sets `X_PORT` to: `tcp://10.0.0.1:80`."""
    return isinstance(value, str) and _SERVICE_ADDRESS.match(value) is not None


def misspelt(
    environment: Mapping[str, str], settings: Iterable[str], known: Iterable[str]
) -> Iterator[tuple[str, str]]:
    """Yield each variable that is a near miss of one of the settings, with that setting's name.

    Those that are `known` mean what they say, and an empty variable is not set. In a near miss one
    letter is missing, too many, wrong or elsewhere, an underscore is or is not there, or the
    names begin alike and hardly differ at all.
    """
    bare = {_bare(name): name for name in settings}
    shortened = {short: name for each, name in bare.items() for short in _shortened(each)}
    meant = _OF_OTHERS.union(known)
    for name, value in environment.items():
        if not value or name.upper() in meant or _OF_A_SERVICE.fullmatch(name.upper()):
            continue
        if is_service_address(value):
            continue
        tried = _bare(name)
        near = next((shortened[each] for each in _shortened(tried) if each in shortened), None)
        if near is None:
            alike = [each for each in bare if each[:_BEGINNING] == tried[:_BEGINNING]]
            near = next((bare[each] for each in get_close_matches(tried, alike, 1, _ALIKE)), None)
        if near is not None:
            yield name, near


def _bare(name: str) -> str:
    return name.upper().replace("_", "")


def _shortened(word: str) -> list[str]:
    """Return a word and what is left of it without any one of its letters.

    Two words that have one of these in common are one letter apart.
    """
    return [word, *(word[:place] + word[place + 1 :] for place in range(len(word)))]
