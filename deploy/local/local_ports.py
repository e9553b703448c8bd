"""Ports of 127.0.0.1: which are free, and which are taken."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

LOOPBACK = "127.0.0.1"

# Below Linux's ephemeral range (32768 and up). Above it, a client that keeps dialling a port where
# nobody listens any more is one day given that very port as its own, connects to itself, and the
# restarted server finds its port taken.
_FIRST, _LAST = 15_000, 32_000

_ATTEMPTS = 200


def free_ports(count: int) -> list[int]:
    """Return `count` different ports that nobody listens on at this moment."""
    found: list[int] = []
    with ExitStack() as held:
        # Each is held until all are found, so that no two are the same.
        for port in random.SystemRandom().sample(range(_FIRST, _LAST), _ATTEMPTS):
            listener = held.enter_context(socket.socket())
            try:
                listener.bind((LOOPBACK, port))
            except OSError:
                continue
            found.append(port)
            if len(found) == count:
                return found
    raise OSError(f"no {count} free ports among {_ATTEMPTS} tried on {LOOPBACK}")


def is_taken(port: int) -> bool:
    """Return whether something listens on `port` already."""
    with socket.socket() as caller:
        caller.settimeout(1.0)
        return caller.connect_ex((LOOPBACK, port)) == 0
