"""Finds out who makes a request: the bearer of the settings' token, or of an operator's own.

Each request looks its token up in the catalog, so a revoked one stops working at once everywhere.
"""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256

import structlog
from pydantic import SecretStr

from freehold.contracts.errors import Unauthorized
from freehold.http.authentication import bearer_token
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.contracts.operators import Role
from freehold_tenant_manager.metrics import OPERATORS_REFUSED
from freehold_tenant_manager.operators.authority import Operator
from freehold_tenant_manager.operators.store import ROOT, find_bearer, find_session_bearer
from freehold_tenant_manager.operators.tokens import parse_operator_token

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RootTokens:
    """The token of the settings, and the one before, if that is still accepted."""

    current: SecretStr
    previous: SecretStr | None

    def accept(self, token: str) -> bool:
        """Say whether this is one of them. Compares digests in constant time.

        Each use of the previous one is logged, so that its users are found.
        """
        given = sha256(token.encode()).digest()
        is_current, is_previous = (
            known is not None
            and hmac.compare_digest(given, sha256(known.get_secret_value().encode()).digest())
            for known in (self.current, self.previous)
        )
        if is_previous and not is_current:
            _log.info("the previous operator token was used")
        return is_current or is_previous

    def mark(self) -> str:
        """Give what changes with the current token and does not tell it."""
        return sha256(self.current.get_secret_value().encode()).hexdigest()[:16]


class Operators:
    """Identifies operators."""

    def __init__(
        self, catalog: Catalog, root: RootTokens, require_ready: Callable[[], None]
    ) -> None:
        """Set up; `require_ready` raises Unavailable until the catalog is set up."""
        self._catalog = catalog
        self._root = root
        self._require_ready = require_ready

    async def identify(self, authorization: str | None, address: str | None) -> Operator:
        """Find out who sent an Authorization header.

        Raises:
            Unauthorized: The token is missing, wrong, revoked or expired.
            Unavailable: The catalog is needed to decide, and does not answer.
        """
        found = await self.find(bearer_token(authorization), address)
        if found is None:
            raise refused()
        return found

    async def find(self, text: str, address: str | None) -> Operator | None:
        """Find who has a token; None where it does not work.

        Raises:
            Unavailable: The catalog is needed to decide, and does not answer.
        """
        if self._root.accept(text):
            return Operator(ROOT, Role.OWNER, "token", address)
        token = parse_operator_token(text)
        if token is None:
            return None
        self._require_ready()
        async with self._catalog.connection() as connection:
            bearer = await find_bearer(connection, token)
        return None if bearer is None else Operator(bearer.name, bearer.role, "token", address)

    def of_root_session(self, mark: str, address: str | None) -> Operator | None:
        """Give the owner root, for a session that was begun while the token had this mark."""
        if not hmac.compare_digest(mark.encode(), self._root.mark().encode()):
            return None
        return Operator(ROOT, Role.OWNER, "session", address)

    async def begin_session(
        self, text: str, address: str | None
    ) -> tuple[Operator, Mapping[str, str]]:
        """Find who signs in with a token, and what their session is to know them by.

        Raises:
            Unauthorized: The token does not work.
            Unavailable: The catalog is needed to decide, and does not answer.
        """
        operator = await self.find(text, address)
        if operator is None:
            raise refused()
        token = parse_operator_token(text)
        who = {"root": self._root.mark()} if token is None else {"token": token.key_id}
        return replace(operator, credential="session"), who

    async def of_session(self, token_id: str, address: str | None) -> Operator | None:
        """Find who began a session with the token of this id; None once it works no more.

        Raises:
            Unavailable: The catalog does not answer.
        """
        self._require_ready()
        async with self._catalog.connection() as connection:
            bearer = await find_session_bearer(connection, token_id)
        return None if bearer is None else Operator(bearer.name, bearer.role, "session", address)


def refused() -> Unauthorized:
    """Count a wrong token, and make its error."""
    OPERATORS_REFUSED.labels("token").inc()
    return Unauthorized("the operator token is not valid")
