"""Tenants who ask tenant-manager for something of their own, by their API key.

They are few and ask seldom, so each key is looked up as it comes.
"""

from freehold.contracts.problems import MISSING_SCOPE, UNAUTHORIZED, Problem
from freehold.security.api_keys import Scope, parse_api_key, same_secret
from freehold.service.authentication import CHALLENGE, bearer_token
from freehold.service.logs import name_tenant
from freehold.tenancy.catalog import Catalog
from freehold_tenant_manager.catalog.api_keys import find_api_key


async def authenticate_tenant(catalog: Catalog, authorization: str | None, scope: Scope) -> str:
    """Say which tenant asks, and that they may.

    Raises:
        Problem: unauthorized, missing-scope, or unavailable.
    """
    key = parse_api_key(bearer_token(authorization))
    row = None
    if key is not None:
        async with catalog.connection() as connection:
            row = await find_api_key(connection, key.key_id)
    if key is None or row is None or not same_secret(key, row["secret_hash"]):
        raise Problem(UNAUTHORIZED, "the API key is not valid", headers=CHALLENGE)
    tenant_id = str(row["tenant_id"])
    name_tenant(tenant_id)
    if scope not in row["scopes"]:
        raise Problem(MISSING_SCOPE, f"the key needs the scope {scope}")
    return tenant_id
