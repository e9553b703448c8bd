"""What the sandbox is told before it starts. Nothing here reads the environment."""

from dataclasses import dataclass, field
from typing import Final

#: Where calls are posted to, as at the provider.
CALL_PATH: Final = "/v1/personal"


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """Where the sandbox listens, whom it knows, and how long its slow behaviours take.

    Seconds are floats. The command has checked what people say.
    """

    host: str = "127.0.0.1"
    #: 0 takes a free port; `server.listening` says which.
    port: int = 0
    access_key: str = "SANDBOXACCESSKEY"
    #: A published secret is right for a stand-in: it guards nothing.
    secret_key: str = field(default="sandbox-secret-key", repr=False)
    #: When set, every call must carry it (base64) in a signed x-jdcloud-security-token.
    session_token: str | None = field(default=None, repr=False)
    #: Seconds that every call takes before it is answered (a charge is counted before them); a
    #: scenario may change them.
    latency: float = 0.0
    #: Seconds by which x-jdcloud-date may differ from our clock: JD's signature is valid 15 min.
    max_clock_skew: float = 900.0
    service: str = "cloudauth"
    #: None takes any region; `jdcloud-api` is what JD's SDKs write for a service without one.
    region: str | None = None
    #: The behaviour (a name of `magic.TABLE`) of every ID number that the table does not list.
    unlisted: str = "match"
    #: Nonces remembered: a minute at 3,000 calls/s; about 50 MB.
    nonces_kept: int = 200_000
    #: A hanging call is dropped after this: longer than any client's deadline, yet bounded.
    hang_seconds: float = 120.0
    slow_seconds: float = 2.0
    #: Seconds between two bytes of a dripping answer (about 300 bytes, so about a minute).
    drip_interval: float = 0.2
    #: A huge answer's padding: a client that reads it whole has a memory problem.
    huge_bytes: int = 100_000_000
