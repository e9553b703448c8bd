"""What can go wrong with the local stack.

StackError             a person can act on its text; never shown with a traceback
├── MissingProgram     a server's program is not installed
├── StartFailed        a server did not get ready; carries the tail of its log
└── NotOurs            asked of a server that somebody else runs (AMQP_URL, DATABASE_URL)
"""

from __future__ import annotations


class StackError(Exception):
    """The local stack cannot do what was asked; the text says why."""


class MissingProgram(StackError):
    """A program that the stack starts is not on this machine."""


class NotOurs(StackError):
    """Only a private server can be told to do this."""


class StartFailed(StackError):
    """A server ended, or stayed silent, instead of getting ready."""

    def __init__(self, what: str, why: str, log_tail: str) -> None:
        self.log_tail = log_tail
        shown = "\n".join(f"    {line}" for line in log_tail.splitlines()) or "    (empty)"
        super().__init__(f"{what} {why}. The end of its log:\n{shown}")
