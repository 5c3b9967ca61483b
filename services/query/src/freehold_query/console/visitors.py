"""Visitors: who is signed in, and so what the console may show them.

A session names an API key, which is looked up at each request. So it ends when its key is revoked
or expires, and what the key may not read is not shown.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import Request

from freehold.console.sessions import Session, Sessions
from freehold.contracts.errors import Unauthorized
from freehold.http.authentication import admit
from freehold.security.api_keys import Scope
from freehold.tenants.directory import Caller, Directory
from freehold_query.readers import Reader
from freehold_query.tokens import instant


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks at a page, as its heading names them."""

    shown_name: str


class Visitors:
    """Finds out who asks for a page."""

    def __init__(self, directory: Directory, sessions: Sessions) -> None:
        self._directory = directory
        self._sessions = sessions

    async def reader(self, request: Request, *scopes: Scope) -> Reader:
        """Find the reader of a page, whose key needs one of the scopes.

        It ends with the session: a page that stays open is given no more after that.

        Raises:
            Unauthorized: Nobody is signed in any more.
            MissingScope, TenantSuspended: They may not see the page.
            Unavailable: The catalog is needed to decide, and does not answer.
        """
        session = self._sessions.read(request)
        caller = None if session is None else await self._caller(session)
        if session is None or caller is None:
            raise Unauthorized("nobody is signed in")
        # A page of an error has the navigation and the way out, too.
        request.state.visitor = Visitor(caller.home.name)
        admit(caller, *scopes)
        ends_at = instant(session.expires_at)
        expires_at = ends_at if caller.expires_at is None else min(ends_at, caller.expires_at)
        return Reader(caller.home, caller.key_id, expires_at)

    async def _caller(self, session: Session) -> Caller | None:
        """Find the caller of a session; None if its key is revoked or has expired."""
        caller = await self._directory.bearer(session.who["key"])
        is_theirs = caller is not None and caller.home.tenant_id == session.who["tenant"]
        return caller if is_theirs else None


def known_by(caller: Caller) -> Mapping[str, str]:
    """Give what a session says of who has begun it."""
    return {"tenant": caller.home.tenant_id, "key": caller.key_id}
