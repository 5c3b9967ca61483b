"""Authenticates tenants by their API key.

Such requests are rare here, so each one looks its key up in the catalog.
"""

from freehold.contracts.errors import MissingScope, Unauthorized
from freehold.http.authentication import bearer_token
from freehold.observability.logs import name_tenant
from freehold.security.api_keys import Scope, parse_api_key, same_secret
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.keys.store import find_api_key


async def authenticate_tenant(catalog: Catalog, authorization: str | None, scope: Scope) -> str:
    """Return the tenant whose key a request has, if the key has the scope.

    Raises:
        Unauthorized: The key is not valid.
        MissingScope: The key lacks the scope.
        Unavailable: The catalog does not answer.
    """
    key = parse_api_key(bearer_token(authorization))
    row = None
    if key is not None:
        async with catalog.connection() as connection:
            row = await find_api_key(connection, key.key_id)
    if key is None or row is None or not same_secret(key, row["secret_hash"]):
        raise Unauthorized("the API key is not valid")
    tenant_id = str(row["tenant_id"])
    name_tenant(tenant_id)
    if scope not in row["scopes"]:
        raise MissingScope(f"the key needs the scope {scope}")
    return tenant_id
