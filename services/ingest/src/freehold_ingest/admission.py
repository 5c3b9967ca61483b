"""Who is let in: a bearer of a key that may, of a tenant within their share."""

from fastapi import Request

from freehold.security.api_keys import Scope
from freehold.service.authentication import authenticate, sole_authorization
from freehold.tenancy.directory import Directory
from freehold.tenancy.homes import Home
from freehold_ingest.limits import Limits, Share


class Admission:
    """Stands at the door of ingest's routes."""

    def __init__(self, directory: Directory, limits: Limits) -> None:
        self.directory = directory
        self.limits = limits

    def of(self, request: Request, *other_scopes: Scope) -> "Visit":
        """Let a request in for as long as `async with` lasts, before its body is read.

        Args:
            request: The request.
            other_scopes: Scopes that are as good here as `ingest`.
        """
        return Visit(self, request, other_scopes)


class Visit:
    """One request's stay. Written out, as a generator's context costs several times as much."""

    __slots__ = ("_admission", "_other_scopes", "_request", "_share")

    def __init__(
        self, admission: Admission, request: Request, other_scopes: tuple[Scope, ...]
    ) -> None:
        self._admission = admission
        self._request = request
        self._other_scopes = other_scopes
        self._share: Share

    async def __aenter__(self) -> Home:
        """Say where the request's tenant is at home.

        Raises:
            Problem: unauthorized, missing-scope, too-many-requests, or unavailable.
        """
        caller = await authenticate(
            self._admission.directory,
            sole_authorization(self._request),
            Scope.INGEST,
            *self._other_scopes,
        )
        self._share = self._admission.limits.enter(caller.home)
        return caller.home

    async def __aexit__(self, *_: object) -> None:
        """Let the request go."""
        self._share.leave()
