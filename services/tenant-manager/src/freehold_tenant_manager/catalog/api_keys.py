"""API keys in the catalog: never the secret, only its hash. Revoked keys stay listed."""

from collections.abc import Iterable
from datetime import datetime

from freehold.contracts.problems import API_KEY_ENDED, NOT_FOUND, Problem
from freehold.contracts.tenants import ApiKeyEntry, CreatedApiKey, ReplacingApiKey
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


async def replace_api_key(
    connection: Connection,
    tenant_id: str,
    key_id: str,
    *,
    overlap_s: int,
    expires_at: datetime | None,
) -> ReplacingApiKey:
    """Make a key in place of another, which goes on working for a while.

    Args:
        connection: To the catalog.
        tenant_id: Whose key it is.
        key_id: The key to be replaced.
        overlap_s: Seconds for which it goes on working, unless it expires before.
        expires_at: When the new key expires.

    Raises:
        Problem: not-found; api-key-ended, where the key works no more.
    """
    async with connection.transaction():
        row = await connection.fetchrow(
            "UPDATE api_keys"
            " SET expires_at = least(expires_at, now() + make_interval(secs => $3))"
            " WHERE tenant_id = $1 AND key_id = $2 AND revoked_at IS NULL"
            " AND (expires_at IS NULL OR expires_at > now())"
            " RETURNING key_id, scopes, created_at, expires_at, revoked_at",
            tenant_id,
            key_id,
            overlap_s,
        )
        if row is None:
            await _require_key(connection, tenant_id, key_id)
            raise Problem(API_KEY_ENDED, "the key works no more; make a new one")
        replaced = _entry(row)
        created = await add_api_key(connection, tenant_id, replaced.scopes, expires_at)
    return ReplacingApiKey(**dict(created), replaced=replaced)


async def _require_key(connection: Connection, tenant_id: str, key_id: str) -> None:
    found = await connection.fetchval(
        "SELECT true FROM api_keys WHERE tenant_id = $1 AND key_id = $2", tenant_id, key_id
    )
    if not found:
        raise no_key()


def no_key() -> Problem:
    """Make the problem of an id that none of the tenant's keys has."""
    return Problem(NOT_FOUND, "the tenant has no such key")


def _entry(row: Record) -> ApiKeyEntry:
    return ApiKeyEntry(**row)
