"""Readers: who asks, and which of the tenant's accounts they may see.

A request has an API key, which sees all accounts, or a read token, which sees those with its
prefix.
"""

from dataclasses import dataclass
from datetime import datetime

from fastapi import Request

from freehold.contracts.errors import MissingScope, Unauthorized
from freehold.contracts.fields import is_account_id
from freehold.http.authentication import admit, authenticate, bearer_token, sole_authorization
from freehold.security.api_keys import Scope
from freehold.tenants.directory import Directory
from freehold.tenants.homes import Home
from freehold_query.tokens import ReadTokens, instant


@dataclass(frozen=True, slots=True)
class Reader:
    """The tenant of a request, and the accounts of theirs that it may see."""

    home: Home
    key_id: str
    """The API key of the request, or the one that its token was made with."""
    expires_at: datetime | None
    """When the key or the token expires."""
    account_prefix: str = ""
    """Only accounts whose id begins with this."""
    has_token: bool = False
    """Whether a token was sent, and not the API key itself."""

    def may_see(self, account_id: str) -> bool:
        """Say whether an account is among those that the reader may see.

        What is no account's id is like one of an unknown account.
        """
        return account_id.startswith(self.account_prefix) and is_account_id(account_id)

    def within(self, account_prefix: str) -> str | None:
        """Narrow a prefix that is asked for to what the reader may see; None if that is nothing."""
        if account_prefix.startswith(self.account_prefix):
            return account_prefix
        return self.account_prefix if self.account_prefix.startswith(account_prefix) else None


class Readers:
    """Authenticates readers."""

    def __init__(self, directory: Directory, tokens: ReadTokens) -> None:
        self._directory = directory
        self._tokens = tokens

    async def reader(self, request: Request, *scopes: Scope, token: str | None = None) -> Reader:
        """Find the reader of a request, whose key needs one of the scopes; a token has `read`.

        Args:
            request: The request.
            scopes: One of them is enough.
            token: A token that came in another way than the Authorization header.

        Raises:
            Unauthorized, MissingScope, TenantSuspended: They may not read.
            Unavailable: The catalog is needed to decide, and does not answer.
        """
        authorization = sole_authorization(request)
        # A token has dots in it, and an API key none.
        if authorization is not None:
            token = bearer_token(authorization) if "." in authorization else None
        if token is not None:
            return await self._bearer(token, *scopes)
        caller = await authenticate(self._directory, authorization, *scopes)
        return Reader(caller.home, caller.key_id, caller.expires_at)

    async def _bearer(self, text: str, *scopes: Scope) -> Reader:
        token = self._tokens.read(text)
        caller = token and await self._directory.bearer(token.key_id)
        if token is None or caller is None or caller.home.tenant_id != token.tenant_id:
            raise Unauthorized("the read token is not valid, or has expired")
        if Scope.READ not in scopes:
            raise MissingScope(f"a read token does not have the scope {' or '.join(scopes)}")
        admit(caller, Scope.READ)
        return Reader(
            caller.home,
            token.key_id,
            instant(token.expires_at),
            token.account_prefix,
            has_token=True,
        )
