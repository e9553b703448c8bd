"""What can go wrong with the local stack; a person can act on each text, without a traceback."""


class StackError(Exception):
    """The local stack cannot do what was asked; the text says why."""


class MissingProgram(StackError):
    """A program that the stack starts is not on this machine."""


class NotOurs(StackError):
    """Only a private server can be told to do this, not that of AMQP_URL or DATABASE_URL."""


class StartFailed(StackError):
    """A server ended, or stayed silent, instead of getting ready."""

    def __init__(self, what: str, why: str, log_tail: str) -> None:
        shown = "\n".join(f"    {line}" for line in log_tail.splitlines()) or "    (empty)"
        super().__init__(f"{what} {why}. The end of its log:\n{shown}")
