"""Visitors of the console: operators who are signed in."""

from dataclasses import dataclass
from typing import Self

from fastapi import Request

from freehold.console.sessions import Sessions
from freehold.contracts.errors import Unauthorized
from freehold_tenant_manager.operators.authority import Operator
from freehold_tenant_manager.operators.operators import Operators


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks at a page, as its heading names them."""

    shown_name: str

    @classmethod
    def of(cls, operator: Operator) -> Self:
        """Name an operator."""
        return cls(f"{operator.name}, {operator.role}")


class Visitors:
    """Finds out whose session a request has. Their token is looked up each time."""

    def __init__(self, operators: Operators, sessions: Sessions) -> None:
        self._operators = operators
        self._sessions = sessions

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
        elif session is not None:
            found = await self._operators.of_session(session.who["token"], address)
        if found is None:
            raise Unauthorized("nobody is signed in")
        return found
