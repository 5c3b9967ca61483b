"""Bearer credentials (RFC 6750). The tenant of a request is known by its API key alone."""

from hashlib import sha256

from starlette.requests import Request

from freehold.contracts.errors import MissingScope, TenantSuspended, Unauthorized
from freehold.http.bodies import header_values
from freehold.observability.logs import name_tenant
from freehold.security.api_keys import Scope, parse_api_key
from freehold.tenants.directory import Caller, Directory


async def authenticate(directory: Directory, authorization: str | None, *scopes: Scope) -> Caller:
    """Find the caller of a request, and check that they may ask: one of the scopes is enough.

    Raises:
        Unauthorized, MissingScope, TenantSuspended: The caller may not.
        Unavailable: The catalog is needed to decide, and does not answer.
    """
    # The directory remembers callers by what they sent, so most requests need no parsing.
    digest = sha256((authorization or "").encode()).digest()
    caller = directory.recall(digest)
    if caller is None:
        key = parse_api_key(bearer_token(authorization))
        caller = await directory.caller(key) if key else None
        if caller is None or key is None:
            raise Unauthorized("the API key is not valid")
        directory.remember(digest, key)
    admit(caller, *scopes)
    return caller


def admit(caller: Caller, *scopes: Scope) -> None:
    """Check that a caller may ask, and name their tenant in the log.

    Raises:
        MissingScope, TenantSuspended: The caller may not.
    """
    name_tenant(caller.home.tenant_id)
    if not caller.may(*scopes):
        raise MissingScope(f"the key needs the scope {' or '.join(scopes)}")
    refuse_suspended(caller)


def refuse_suspended(caller: Caller) -> None:
    """Refuse callers whose tenant is not active.

    Raises:
        TenantSuspended: The tenant is suspended, or being deleted.
    """
    if caller.home.status != "active":
        deleting = caller.home.status == "deleting"
        raise TenantSuspended(
            f"the tenant is {'being deleted' if deleting else 'suspended'} by the operator"
        )


def sole_authorization(request: Request) -> str | None:
    """Take a request's Authorization header. Several count as none."""
    values = header_values(request, b"authorization")
    return values[0] if len(values) == 1 else None


def bearer_token(authorization: str | None) -> str:
    """Take the token out of an Authorization header.

    Raises:
        Unauthorized: There is none.
    """
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthorized("send the header: Authorization: Bearer <credential>")
    return token.strip()
