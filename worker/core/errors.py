"""What rooms raise at each other.

Fault
├── LedgerUnavailable   the database cannot be used now: try the same batch again
│   └── LedgerContended only another transaction was in the way: at once
└── LedgerRefused       the database refuses this data: halve the batch, never repeat it whole
"""


class Fault(Exception):
    """A fault of the world around us, mapped once at the border of the room that met it."""


class LedgerUnavailable(Fault):
    """The database cannot be used now; what was asked may be asked again unchanged."""


class LedgerContended(LedgerUnavailable):
    """Another transaction was in the way (a deadlock, say): the same again will work."""


class LedgerRefused(Fault):
    """The database refuses the data of this batch: repeating it is useless, halving it is not."""
