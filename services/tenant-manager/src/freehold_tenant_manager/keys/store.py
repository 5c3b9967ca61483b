"""API keys in the catalog, which has hashes of secrets only. Revoked keys stay listed."""

import secrets
from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256

from freehold.contracts.errors import ApiKeyEnded, DomainError, NotFound
from freehold.database.queries import load_queries
from freehold.ledger.client import Connection, Record
from freehold.security.api_keys import Scope, new_api_key
from freehold_tenant_manager.contracts.sign_in_links import SignInLink
from freehold_tenant_manager.contracts.tenants import ApiKeyEntry, CreatedApiKey, ReplacingApiKey

_QUERIES = load_queries("freehold_tenant_manager.keys", "queries.sql")
_LINK_BYTES = 32


async def add_api_key(
    connection: Connection,
    tenant_id: str,
    scopes: Iterable[Scope],
    expires_at: datetime | None = None,
    label: str | None = None,
) -> CreatedApiKey:
    """Make a key for a tenant. Only the returned value contains its secret."""
    key = new_api_key()
    scopes = list(scopes)
    created_at: datetime = await connection.fetchval(
        _QUERIES["add"],
        key.key_id,
        tenant_id,
        key.secret_hash(),
        [scope.value for scope in scopes],
        expires_at,
        label,
    )
    return CreatedApiKey(
        key_id=key.key_id,
        api_key=key.text(),
        scopes=scopes,
        label=label,
        created_at=created_at,
        expires_at=expires_at,
    )


async def list_api_keys(
    connection: Connection, tenant_id: str, *, after: str | None, rows_max: int
) -> list[ApiKeyEntry]:
    """List a tenant's keys, the oldest first, after the key of a given id."""
    rows = await connection.fetch(_QUERIES["list"], tenant_id, after, rows_max)
    return [ApiKeyEntry(**row) for row in rows]


async def find_api_key(connection: Connection, key_id: str) -> Record | None:
    """Give a key that works now: its tenant, its scopes and the hash of its secret."""
    return await connection.fetchrow(_QUERIES["find_working"], key_id)


async def revoke_api_key(connection: Connection, tenant_id: str, key_id: str) -> bool:
    """Revoke a key for good; say whether the tenant has such a key."""
    found = await connection.fetchval(_QUERIES["revoke"], tenant_id, key_id)
    return found is not None


async def label_api_key(
    connection: Connection, tenant_id: str, key_id: str, label: str | None
) -> ApiKeyEntry:
    """Set a key's label; None removes it.

    Raises:
        NotFound: The tenant has no such key.
    """
    row = await connection.fetchrow(_QUERIES["label"], tenant_id, key_id, label)
    if row is None:
        raise no_key()
    return ApiKeyEntry(**row)


async def replace_api_key(
    connection: Connection,
    tenant_id: str,
    key_id: str,
    *,
    overlap_s: int,
    expires_at: datetime | None,
) -> ReplacingApiKey:
    """Make a key in place of another, which works for `overlap_s` longer, unless it expires before.

    Raises:
        NotFound: The tenant has no such key.
        ApiKeyEnded: The key does not work any more.
    """
    async with connection.transaction():
        row = await connection.fetchrow(_QUERIES["expire"], tenant_id, key_id, overlap_s)
        if row is None:
            raise await _ended(connection, tenant_id, key_id)
        replaced = ApiKeyEntry(**row)
        created = await add_api_key(
            connection, tenant_id, replaced.scopes, expires_at, replaced.label
        )
    return ReplacingApiKey(**dict(created), replaced=replaced)


async def add_sign_in_link(
    connection: Connection, tenant_id: str, key_id: str, *, expires_in_s: int
) -> SignInLink:
    """Make a link that begins a session of a key in the tenant's console, once.

    Raises:
        NotFound: The tenant has no such key.
        ApiKeyEnded: The key does not work any more.
    """
    link = secrets.token_urlsafe(_LINK_BYTES)
    expires_at: datetime | None = await connection.fetchval(
        _QUERIES["add_link"], tenant_id, key_id, sha256(link.encode()).digest(), expires_in_s
    )
    if expires_at is None:
        raise await _ended(connection, tenant_id, key_id)
    return SignInLink(path=f"/console/sign-in?link={link}", key_id=key_id, expires_at=expires_at)


async def _ended(connection: Connection, tenant_id: str, key_id: str) -> DomainError:
    """Make the error for a key that does not work, or that the tenant does not have."""
    if await connection.fetchval(_QUERIES["exists"], tenant_id, key_id):
        return ApiKeyEnded("the key works no more; make a new one")
    return no_key()


def no_key() -> DomainError:
    """Make the error for an id that none of the tenant's keys has."""
    return NotFound("the tenant has no such key")
