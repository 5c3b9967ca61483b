"""Authenticates tenants by their API key, or by a ticket that names one.

Such requests are rare here, so each one looks its key up in the catalog.
"""

from freehold.contracts.errors import MissingScope, Unauthorized
from freehold.http.authentication import bearer_token
from freehold.ledger.client import Record
from freehold.observability.logs import name_tenant
from freehold.security.api_keys import Scope, parse_api_key, same_secret
from freehold.security.export_tickets import ExportTicket
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
    row = None if key is None else await _find(catalog, key.key_id)
    if key is None or row is None or not same_secret(key, row["secret_hash"]):
        raise Unauthorized("the API key is not valid")
    return _admitted(row, scope)


async def authenticate_ticket(catalog: Catalog, ticket: ExportTicket | None, scope: Scope) -> str:
    """Return the tenant of a ticket, if the key that it names works and has the scope.

    Raises:
        Unauthorized: The ticket or the key is not valid any more.
        MissingScope: The key lacks the scope.
        Unavailable: The catalog does not answer.
    """
    row = None if ticket is None else await _find(catalog, ticket.key_id)
    if ticket is None or row is None or row["tenant_id"] != ticket.tenant_id:
        raise Unauthorized(
            "this download is not valid any more: go back to the console, and prepare it again"
        )
    return _admitted(row, scope)


async def _find(catalog: Catalog, key_id: str) -> Record | None:
    async with catalog.connection() as connection:
        return await find_api_key(connection, key_id)


def _admitted(row: Record, scope: Scope) -> str:
    tenant_id = str(row["tenant_id"])
    name_tenant(tenant_id)
    if scope not in row["scopes"]:
        raise MissingScope(f"the key needs the scope {scope}")
    return tenant_id
