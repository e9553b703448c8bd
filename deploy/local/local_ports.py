"""Ports of 127.0.0.1: which are free, which are taken, and where a broker answers."""

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

# "AMQP", 0, version 0-9-1: what a client says first.
_GREETING = b"AMQP\x00\x00\x09\x01"

# The answer is a method frame (1) on channel 0 with Connection.Start (class 10, method 10).
_START_FRAME = (b"\x01\x00\x00", b"\x00\x0a\x00\x0a")


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
    """Tell whether something listens on `port` already."""
    with socket.socket() as caller:
        caller.settimeout(1.0)
        return caller.connect_ex((LOOPBACK, port)) == 0


def speaks_amqp(port: int) -> bool:
    """Tell whether an AMQP 0-9-1 broker answers on `port`."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=2.0) as connection:
            connection.sendall(_GREETING)
            answer = connection.recv(11, socket.MSG_WAITALL)
    except OSError:
        return False
    return answer.startswith(_START_FRAME[0]) and answer.endswith(_START_FRAME[1])
