"""API keys in the catalog: never the secret, only its hash. Revoked keys stay listed."""

from collections.abc import Iterable
from datetime import datetime

from freehold.contracts.tenants import ApiKeyEntry, CreatedApiKey
from freehold.ledger.client import Connection, Record
from freehold.security.api_keys import Scope, new_api_key


async def add_api_key(
    connection: Connection,
    tenant_id: str,
    scopes: Iterable[Scope],
    expires_at: datetime | None = None,
) -> CreatedApiKey:
    """Make a key for a tenant. Its secret is in what this returns, and nowhere else."""
    key = new_api_key()
    scopes = list(scopes)
    created_at: datetime = await connection.fetchval(
        "INSERT INTO api_keys (key_id, tenant_id, secret_hash, scopes, expires_at)"
        " VALUES ($1, $2, $3, $4, $5) RETURNING created_at",
        key.key_id,
        tenant_id,
        key.secret_hash(),
        [scope.value for scope in scopes],
        expires_at,
    )
    return CreatedApiKey(
        key_id=key.key_id,
        api_key=key.text(),
        scopes=scopes,
        created_at=created_at,
        expires_at=expires_at,
    )


async def list_api_keys(
    connection: Connection, tenant_id: str, *, after: str | None, rows_max: int
) -> list[ApiKeyEntry]:
    """List a tenant's keys, the oldest first, after the key of a given id."""
    rows = await connection.fetch(
        "SELECT key_id, scopes, created_at, expires_at, revoked_at FROM api_keys"
        " WHERE tenant_id = $1 AND ($2::text IS NULL OR (created_at, key_id) > ("
        "  SELECT created_at, key_id FROM api_keys WHERE tenant_id = $1 AND key_id = $2"
        " )) ORDER BY created_at, key_id LIMIT $3",
        tenant_id,
        after,
        rows_max,
    )
    return [_entry(row) for row in rows]


async def find_api_key(connection: Connection, key_id: str) -> Record | None:
    """Give a key that works now: its tenant, its scopes and the hash of its secret."""
    return await connection.fetchrow(
        "SELECT tenant_id, secret_hash, scopes FROM api_keys"
        " WHERE key_id = $1 AND revoked_at IS NULL AND coalesce(expires_at > now(), true)",
        key_id,
    )


async def revoke_api_key(connection: Connection, tenant_id: str, key_id: str) -> bool:
    """Revoke a key, once and for all; say whether the tenant has such a key."""
    found = await connection.fetchval(
        "UPDATE api_keys SET revoked_at = coalesce(revoked_at, now())"
        " WHERE tenant_id = $1 AND key_id = $2 RETURNING true",
        tenant_id,
        key_id,
    )
    return found is not None


def _entry(row: Record) -> ApiKeyEntry:
    return ApiKeyEntry(**row)
