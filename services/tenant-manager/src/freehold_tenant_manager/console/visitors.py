"""Visitors of the console: operators who are signed in."""

import hmac
import time
from dataclasses import dataclass
from typing import Self

from fastapi import Request

from freehold.console.sessions import Session, Sessions
from freehold.contracts.errors import Unauthorized
from freehold_tenant_manager.contracts.operators import Role
from freehold_tenant_manager.operators.authority import Operator
from freehold_tenant_manager.operators.oidc import IdentityProvider
from freehold_tenant_manager.operators.operators import Operators

_OIDC_LASTS_S = 3_600


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks at a page, as its heading names them."""

    shown_name: str

    @classmethod
    def of(cls, operator: Operator) -> Self:
        """Name an operator."""
        return cls(f"{operator.name}, {operator.role}")


@dataclass(frozen=True, slots=True)
class SignIn:
    """What signing in at the identity provider needs, besides the sessions that follow."""

    provider: IdentityProvider | None
    flows: Sessions
    """What a browser keeps while its person is at the provider."""
    console_url: str


class Visitors:
    """Finds out whose session a request has.

    Their token is looked up each time. At the identity provider nothing can be looked up, so who
    signed in there does so again after an hour, or once the settings let in others.
    """

    def __init__(
        self, operators: Operators, sessions: Sessions, provider: IdentityProvider | None
    ) -> None:
        self._operators = operators
        self._sessions = sessions
        self._provider = provider

    async def operator(self, request: Request, address: str | None) -> Operator:
        """Find who is signed in.

        Raises:
            Unauthorized: Nobody is, or the token that they signed in with works no more.
            Unavailable: The catalog is needed to decide, and does not answer.
        """
        session = self._sessions.read(request)
        found = None
        if session is not None and "root" in session.who:
            found = self._operators.of_root_session(session.who["root"], address)
        elif session is not None and "oidc" in session.who:
            found = self._of_provider(session, address)
        elif session is not None:
            found = await self._operators.of_session(session.who["token"], address)
        if found is None:
            raise Unauthorized("nobody is signed in")
        return found

    def _of_provider(self, session: Session, address: str | None) -> Operator | None:
        if self._provider is None or time.time() >= session.begun_at + _OIDC_LASTS_S:
            return None
        mark = session.who.get("provider", "")
        if not hmac.compare_digest(mark.encode(), self._provider.mark().encode()):
            return None
        return Operator(session.who["oidc"], Role(session.who["role"]), "oidc", address)
