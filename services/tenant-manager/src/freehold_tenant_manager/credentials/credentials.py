"""Shows the customer's password, and replaces passwords of tenants' roles.

No request fails meanwhile: sessions outlive the password that they began with, and a service whose
login is refused looks the new password up and tries again (freehold.tenants.connections).
"""

from datetime import UTC, datetime
from urllib.parse import quote

import structlog

from freehold.contracts.errors import Unavailable
from freehold.security.key_ring import KeyRing
from freehold.tenants.catalog import Catalog
from freehold.tenants.homes import Home
from freehold_tenant_manager.contracts.credentials import (
    CustomerCredentials,
    RotatedCredentials,
    Service,
)
from freehold_tenant_manager.credentials.store import find_home, replace_passwords, reseal_passwords
from freehold_tenant_manager.server.locks import Lock, locked
from freehold_tenant_manager.server.roles import CUSTOMER
from freehold_tenant_manager.tenants.store import find_living_tenant

_log = structlog.get_logger(__name__)
_LOCK_TIMEOUT_S = 5.0
_RESEALED_AT_ONCE = 100


class Credentials:
    """Tenants' credentials."""

    def __init__(
        self, catalog: Catalog, key_ring: KeyRing, *, address: tuple[str | None, int | None]
    ) -> None:
        """Set where they are kept.

        `address` is the host and port at which customers reach their databases; None for those at
        which services do.
        """
        self._catalog = catalog
        self._key_ring = key_ring
        self._host, self._port = address

    async def of_customer(self, tenant_id: str) -> CustomerCredentials:
        """Give the customer's own, read-only credentials.

        Raises:
            NotFound, TenantDeleted, Unavailable: As `find_living_tenant`.
            SealingError: The stored password does not open.
        """
        async with self._catalog.connection() as connection:
            await find_living_tenant(connection, tenant_id)
            home = await find_home(connection, self._key_ring, tenant_id, CUSTOMER)
        if home is None:
            raise Unavailable("the tenant's credentials are not there")
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
            NotFound, TenantDeleted, Unavailable: As `find_living_tenant`.
            Overloaded: Other work on the tenant's roles is under way.
        """
        async with (
            self._catalog.connection() as connection,
            # A migration makes roles again with passwords that it read before.
            locked(connection, Lock.TENANT, tenant_id, timeout_s=_LOCK_TIMEOUT_S),
            connection.transaction(),
        ):
            tenant = await find_living_tenant(connection, tenant_id, locked=True)
            services = await replace_passwords(
                connection, self._key_ring, tenant.database_name, service
            )
        _log.info("passwords replaced", tenant_id=tenant_id, services=services)
        return RotatedCredentials(services=services, rotated_at=datetime.now(UTC))

    async def renewed(self, home: Home) -> Home | None:
        """Give the current home of a tenant whose database refused a home's password."""
        service = home.role.removeprefix(f"{home.database}_")
        async with self._catalog.connection() as connection:
            return await find_home(connection, self._key_ring, home.tenant_id, service)

    async def reseal(self) -> bool:
        """Seal every password with the current key, so that older keys can be removed.

        Raises:
            Unavailable: The catalog does not answer; the next round continues.
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
            _log.info("passwords resealed", count=total, key_id=self._key_ring.sealing_key_id)
        return False


def _in_url(host: str) -> str:
    """Write a host for a URL (RFC 3986); a socket's folder is percent-encoded (libpq)."""
    if ":" in host:
        return f"[{host}]"
    return quote(host, safe="")
