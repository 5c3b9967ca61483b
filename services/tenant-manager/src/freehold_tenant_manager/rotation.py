"""Passwords: the customer's own is shown, and those of a tenant's roles are replaced.

No request fails meanwhile: sessions outlive the password that they began with, and a service that
is refused looks the new one up and tries again (freehold.tenancy.connections).
"""

from datetime import UTC, datetime
from urllib.parse import quote

import structlog

from freehold.contracts.credentials import CustomerCredentials, RotatedCredentials, Service
from freehold.contracts.problems import unavailable
from freehold.security.sealing import KeyRing
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.homes import Home
from freehold_tenant_manager.catalog.credentials import (
    find_home,
    replace_passwords,
    reseal_passwords,
)
from freehold_tenant_manager.catalog.tenants import find_living_tenant
from freehold_tenant_manager.locks import Lock, locked

_log = structlog.get_logger(__name__)
_LOCK_TIMEOUT_S = 5.0
_RESEALED_AT_ONCE = 100


class Credentials:
    """Tenants' credentials."""

    def __init__(
        self, catalog: Catalog, key_ring: KeyRing, *, address: tuple[str | None, int | None]
    ) -> None:
        """Say where they are kept.

        Args:
            catalog: Has them.
            key_ring: Opens and seals them.
            address: The host and port under which customers reach their database; None for those
                under which services do.
        """
        self._catalog = catalog
        self._key_ring = key_ring
        self._host, self._port = address

    async def of_customer(self, tenant_id: str) -> CustomerCredentials:
        """Give the customer's own, read-only way into their database.

        Raises:
            Problem: not-found, tenant-deleted, or unavailable.
            SealingError: The stored password does not open.
        """
        async with self._catalog.connection() as connection:
            await find_living_tenant(connection, tenant_id)
            home = await find_home(connection, self._key_ring, tenant_id, "auditor")
        if home is None:
            raise unavailable("the tenant's credentials are not there")
        host, port = self._host or home.host, self._port or home.port
        password = quote(home.password, safe="")
        return CustomerCredentials(
            dsn=f"postgresql://{home.role}:{password}@{_in_url(host)}:{port}/{home.database}",
            host=host,
            port=port,
            database=home.database,
            schema=home.schema,
            user=home.role,
            password=home.password,
        )

    async def rotate(self, tenant_id: str, service: Service | None) -> RotatedCredentials:
        """Replace the passwords of a tenant's roles, or of one of them.

        Raises:
            Problem: not-found, tenant-deleted, or unavailable; overloaded, where somebody works on
                the tenant's roles.
        """
        async with (
            self._catalog.connection() as connection,
            # Whoever makes the roles again gives them the passwords that they have found.
            locked(connection, Lock.TENANT, tenant_id, timeout_s=_LOCK_TIMEOUT_S),
            connection.transaction(),
        ):
            await find_living_tenant(connection, tenant_id, locked=True)
            services = await replace_passwords(connection, self._key_ring, tenant_id, service)
        _log.info("passwords replaced", tenant_id=tenant_id, services=services)
        return RotatedCredentials(services=services, rotated_at=datetime.now(UTC))

    async def renewed(self, home: Home) -> Home | None:
        """Say where a tenant lives whose database refuses the password in a home."""
        service = home.role.removeprefix(f"{home.database}_")
        async with self._catalog.connection() as connection:
            return await find_home(connection, self._key_ring, home.tenant_id, service)

    async def reseal(self) -> bool:
        """Seal every password with the key that seals now, so that older keys can be taken away.

        Raises:
            Problem: unavailable, where the catalog does not answer; another round goes on.
        """
        total, after = 0, ("", "")
        while True:
            async with self._catalog.connection() as connection:
                resealed, last = await reseal_passwords(
                    connection, self._key_ring, after, _RESEALED_AT_ONCE
                )
            total += resealed
            if last is None:
                break
            after = last
        if total:
            _log.info("passwords sealed anew", count=total, key_id=self._key_ring.sealing_key_id)
        return False


def _in_url(host: str) -> str:
    """Write a host as RFC 3986 has it; sockets' folders are written in percent code (libpq)."""
    if ":" in host:
        return f"[{host}]"
    return quote(host, safe="")
