"""Admission: lets in requests with a key that may, of tenants within their limits."""

from fastapi import Request

from freehold.contracts.errors import TooManyRequests
from freehold.http.authentication import authenticate, sole_authorization
from freehold.security.api_keys import Scope
from freehold.tenants.directory import Directory
from freehold_ingest.limits import Limits, RefusalPace, TokenBucket


class Admission:
    """Stands before ingest's routes."""

    def __init__(self, directory: Directory, limits: Limits) -> None:
        self._directory = directory
        self._limits = limits
        self._refusals = RefusalPace()

    async def let_in(self, request: Request, *other_scopes: Scope) -> TokenBucket:
        """Let a request in, before its body is read, for as long as `with` the bucket lasts.

        Its key has the scope `ingest` or one of the others.

        Raises:
            DomainError: unauthorized, missing-scope, too-many-requests, or unavailable.
        """
        caller = await authenticate(
            self._directory, sole_authorization(request), Scope.INGEST, *other_scopes
        )
        try:
            return self._limits.enter(caller.home)
        except TooManyRequests:
            await self._refusals.wait()
            raise
