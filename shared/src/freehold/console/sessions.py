"""Sessions of people in a browser: a signed cookie that no script can read.

A session says who signed in, and holds no credential. Whether they still may is looked up at each
request, so a session ends with what it was begun with.
"""

import time
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Literal, NamedTuple

from fastapi import Request, Response

from freehold.security.key_ring import KeyRing
from freehold.security.signed_tokens import SignedTokens

_RENEWED_AFTER_S = 60
_AUTOMATIC = "freehold-automatic"
"""The header of requests that a page makes by itself: they keep no session alive."""


class Session(NamedTuple):
    """A session that goes on."""

    who: Mapping[str, str]
    """What the console knows its visitor by."""
    begun_at: int
    """In seconds since 1970, as the next one."""
    expires_at: int


class Sessions:
    """Begins, reads, renews and ends the sessions of one console."""

    def __init__(
        self,
        key_ring: KeyRing,
        *,
        cookie: str,
        path: str = "/console",
        idle_s: int = 1_800,
        lasts_s: int = 28_800,
        same_site: Literal["strict", "lax"] = "strict",
    ) -> None:
        """Set what the sessions are like.

        Args:
            key_ring: The keys that the signing keys are derived from.
            cookie: The cookie's name, which is also the purpose of the keys.
            path: Where the browser sends the cookie.
            idle_s: Seconds without a request after which a session ends.
            lasts_s: Seconds after which it ends whatever happens.
            same_site: `lax` where a page of another site leads back to this one.
        """
        self._tokens = SignedTokens(
            key_ring,
            f"freehold console: {cookie}",
            issuer=cookie,
            audience=cookie,
            claims=("begun", "who"),
        )
        self._cookie = cookie
        self._path = path
        self._idle_s = idle_s
        self._lasts_s = lasts_s
        self._same_site = same_site

    def begin(self, request: Request, response: Response, who: Mapping[str, str]) -> None:
        """Begin a session with an answer."""
        now = int(time.time())
        self._write(request, response, who, begun_at=now, now=now)

    def read(self, request: Request) -> Session | None:
        """Give the session of a request; None if it has none that is valid.

        It is renewed with the answer of a `PageRoute`.
        """
        text = request.cookies.get(self._cookie)
        session = None if text is None else self._verified(text)
        if session is not None and _AUTOMATIC not in request.headers:
            request.state.renew_session = lambda response: self._renew(request, response, session)
        return session

    def end(self, request: Request, response: Response) -> None:
        """End a session with an answer."""
        request.state.renew_session = None
        response.delete_cookie(self._cookie, path=self._path)

    def _renew(self, request: Request, response: Response, session: Session) -> None:
        now = int(time.time())
        if session.expires_at - now < self._idle_s - _RENEWED_AFTER_S:
            self._write(request, response, session.who, begun_at=session.begun_at, now=now)

    def _write(
        self,
        request: Request,
        response: Response,
        who: Mapping[str, str],
        *,
        begun_at: int,
        now: int,
    ) -> None:
        expires_at = min(now + self._idle_s, begun_at + self._lasts_s)
        text = self._tokens.sign({"begun": begun_at, "who": dict(who)}, expires_at=expires_at)
        response.set_cookie(
            self._cookie,
            text,
            max_age=expires_at - now,
            path=self._path,
            secure=not is_loopback(request),
            httponly=True,
            samesite=self._same_site,
        )

    def _verified(self, text: str) -> Session | None:
        claims = self._tokens.read(text)
        if claims is None:
            return None
        return Session(claims["who"], claims["begun"], claims["exp"])


def is_loopback(request: Request) -> bool:
    """Say whether the browser reaches the service on its own machine, where HTTP is no risk.

    Anywhere else the cookie is sent over HTTPS only (RFC 6265, section 5.4).
    """
    host = request.url.hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
