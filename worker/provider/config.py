"""What the provider's client is made of: values only."""

from dataclasses import dataclass, field

FREE_TRIES = 3


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """Where and how to call. Times are in seconds; `region` and `algorithm` are the signature's.

    The settings have checked it all.
    """

    url: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str = "jdcloud-api"
    algorithm: str = "JDCLOUD2"
    connect_timeout: float = 3.0
    read_timeout: float = 20.0
    """The longest silence."""
    call_deadline: float = 25.0
    """The longest call, all its tries together."""
    ca_file: str | None = None
    """A CA bundle instead of certifi's."""
    proxy: str | None = field(default=None, repr=False)
    """`http://user:password@host:port` of an HTTP proxy on the way, with or without a user."""
    pool_size: int = 32
    """Threads that call at once: each finds a connection of its own."""
    no_record_pattern: str = "查无|无记录|库中无"
    live: bool = False
    """Whether answers count as the provider's own: then the sandbox's are refused."""
    keep_idle: float = 10.0
    """How long an idle connection is trusted. A server that closes one just as a request leaves
    puts that call in doubt; the shortest usual keep-alive is 15 s, nginx has 75 s, and a new
    connection costs two round trips."""
    free_tries: int = FREE_TRIES
    """Tries within one call, where the earlier ones were provably free."""
    free_budget: float = 5.0
    """No further try begins later than this; longer waits belong to the retry queues."""
    short_wait: float = 2.0
    """The longest Retry-After that is waited for within a call."""
