"""Bearer credentials (RFC 6750): the tenant of a request comes from its key and nowhere else."""

import hmac
from hashlib import sha256

from starlette.requests import Request

from freehold.contracts.problems import MISSING_SCOPE, UNAUTHORIZED, Problem
from freehold.security.api_keys import Scope, parse_api_key
from freehold.service.bodies import header_values
from freehold.service.logs import name_tenant
from freehold.tenancy.directory import Caller, Directory

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="freehold"'}


async def authenticate(directory: Directory, authorization: str | None, *scopes: Scope) -> Caller:
    """Say who asks, and that they may: one of the scopes is enough.

    Raises:
        Problem: unauthorized, missing-scope, or unavailable.
    """
    key = parse_api_key(bearer_token(authorization))
    caller = await directory.caller(key) if key else None
    if caller is None:
        raise Problem(UNAUTHORIZED, "the API key is not valid", headers=_CHALLENGE)
    name_tenant(caller.home.tenant_id)
    if not caller.may(*scopes):
        raise Problem(MISSING_SCOPE, f"the key needs the scope {' or '.join(scopes)}")
    return caller


def known_caller(directory: Directory, authorization: bytes, scope: Scope) -> Caller | None:
    """Say who asks if that is at hand, and they may; all else is for `authenticate` to say."""
    digest = sha256(authorization).digest()
    caller = directory.recall(digest)
    if caller is None:
        scheme, _, token = authorization.decode("latin-1").partition(" ")
        key = parse_api_key(token) if scheme.lower() == "bearer" else None
        caller = directory.remember(digest, key) if key else None
    return caller if caller is not None and scope in caller.scopes else None


def sole_authorization(request: Request) -> str | None:
    """Take a request's Authorization header; several of them are as good as none."""
    values = header_values(request, b"authorization")
    return values[0] if len(values) == 1 else None


def authenticate_operator(authorization: str | None, token: str) -> None:
    """Let only the operator pass; compares digests in constant time.

    Raises:
        Problem: unauthorized.
    """
    given = sha256(bearer_token(authorization).encode()).digest()
    if not hmac.compare_digest(given, sha256(token.encode()).digest()):
        raise Problem(UNAUTHORIZED, "the operator token is not valid", headers=_CHALLENGE)


def bearer_token(authorization: str | None) -> str:
    """Take the token out of an Authorization header.

    Raises:
        Problem: unauthorized, where there is none.
    """
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Problem(
            UNAUTHORIZED,
            "send the header: Authorization: Bearer <credential>",
            headers=_CHALLENGE,
        )
    return token.strip()
