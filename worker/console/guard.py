"""Who may come in and act, and what every answer tells a browser."""

import hmac
import re
import secrets
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_address

from aiohttp import web

from worker.core.masking import scrub

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
SESSION, LANGUAGE = "console_session", "console_language"
"""Names of our two cookies."""

_SESSION = re.compile(r"[A-Za-z0-9_-]{43}")
_LONGEST_NAME = 100


class Refusal(Exception):
    """A request that is not carried out: the status, and words for a person."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks: a browser's session, and who a proxy says sits there."""

    session: str
    user: str | None


class Guard:
    """Checks each request; tokens are good for as long as this process lives."""

    def __init__(
        self, operator: str, names: frozenset[str], user_header: str | None, *, allow_actions: bool
    ) -> None:
        """`operator` acts where no proxy names anybody; `names` are the proxy's own."""
        self.operator = operator
        self.allow_actions = allow_actions
        self._names = names
        self._user_header = user_header
        self._secret = secrets.token_bytes(32)

    def admit(self, request: web.Request) -> Visitor:
        """Return who asks; raise Refusal where the request must come from elsewhere."""
        if not self._is_ours(request.headers.get("Host", "")):
            raise Refusal(403, "this console is not known by that name: see --public-name")
        session = request.cookies.get(SESSION, "")
        if not _SESSION.fullmatch(session):
            session = secrets.token_urlsafe(32)
        return Visitor(session, self._user(request))

    def token(self, visitor: Visitor) -> str:
        """Return what a form of this session must bring along."""
        return self.sign(visitor.session.encode())

    def sign(self, what: bytes) -> str:
        """Return a name for something that only this process can make."""
        return hmac.new(self._secret, what, sha256).hexdigest()[:32]

    def check_form(self, request: web.Request, visitor: Visitor, token: object) -> None:
        """Raise Refusal unless the form is one that we gave to this session."""
        foreign = request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
        given = token if isinstance(token, str) and token.isascii() else ""
        if foreign or not hmac.compare_digest(given, self.token(visitor)):
            raise Refusal(403, "this page is from before a restart, or not ours: load it again")

    def acting(self, visitor: Visitor) -> str:
        """Return who acts; raise Refusal where nobody may, or nobody says who it is."""
        if not self.allow_actions:
            raise Refusal(403, "this console only shows: it was started without --allow-actions")
        if self._user_header is None:
            return self.operator
        if visitor.user is None:
            raise Refusal(403, "the proxy does not say who you are: see --user-header")
        return visitor.user

    def _user(self, request: web.Request) -> str | None:
        names = request.headers.getall(self._user_header or "", [])
        # Of two, one is not the proxy's.
        name = names[0].strip() if len(names) == 1 else ""
        return scrub(name, None, _LONGEST_NAME) if name.isprintable() and name else None

    def _is_ours(self, host: str) -> bool:
        """Return whether this is an address, localhost or a proxy's name: no other is ours."""
        name = re.sub(r":[0-9]+$", "", host).strip("[]").lower()
        if name == "localhost" or name in self._names:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True
