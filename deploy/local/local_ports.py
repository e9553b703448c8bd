"""Ports of 127.0.0.1: which are free, and which are taken."""

import atexit
import random
import socket
from contextlib import ExitStack, suppress

LOOPBACK = "127.0.0.1"

# Below Linux's ephemeral range (32768 and up). Above it, a client that keeps dialling a port where
# nobody listens any more is one day given that very port as its own, connects to itself, and the
# restarted server finds its port taken.
_FIRST, _LAST = 15_000, 32_000

_ATTEMPTS = 200

_TO_THE_END = ExitStack()
atexit.register(_TO_THE_END.close)


def free_ports(count: int, held: ExitStack = _TO_THE_END) -> list[int]:
    """Return `count` different ports that nobody listens on at this moment.

    Nobody else is given them by this function before `held` is closed, though a server may take
    seconds to listen: it is the same port of UDP that is kept, which no server here wants.
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(range(_FIRST, _LAST), _ATTEMPTS):
        if len(found) == count:
            return found
        keeper = held.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        with suppress(OSError), socket.socket() as listener:
            listener.bind((LOOPBACK, port))
            keeper.bind((LOOPBACK, port))
            found.append(port)
    raise OSError(f"no {count} free ports among {_ATTEMPTS} tried on {LOOPBACK}")


def is_taken(port: int) -> bool:
    """Tell whether something listens on `port` already."""
    with socket.socket() as caller:
        caller.settimeout(60.0)  # a machine that is busy; nobody there is known at once
        return caller.connect_ex((LOOPBACK, port)) == 0
