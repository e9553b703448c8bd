"""Ports of 127.0.0.1: which are free, and which are taken."""

from __future__ import annotations

import random
import socket

LOOPBACK = "127.0.0.1"

# Below Linux's ephemeral range (32768 and up). Above it, a client that keeps dialling a port where
# nobody listens any more is one day given that very port as its own, connects to itself, and the
# restarted server finds its port taken.
_FIRST, _LAST = 15_000, 32_000

_ATTEMPTS = 200


def free_ports(count: int) -> list[int]:
    """Return `count` different ports that nobody listens on and that nobody else is given.

    Each stays bound, without a listener, until this process ends: whoever asks for a port cannot
    bind it. A server can, for servers set SO_REUSEADDR, as this socket does once it is bound.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(range(_FIRST, _LAST), _ATTEMPTS):
        held = socket.socket()
        try:
            held.bind((LOOPBACK, port))
        except OSError:
            held.close()
            continue
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.detach()
        found.append(port)
        if len(found) == count:
            return found
    raise OSError(f"no {count} free ports among {_ATTEMPTS} tried on {LOOPBACK}")


def is_taken(port: int) -> bool:
    """Tell whether something listens on `port` already."""
    with socket.socket() as caller:
        caller.settimeout(60.0)  # a machine that is busy; nobody there is known at once
        return caller.connect_ex((LOOPBACK, port)) == 0
