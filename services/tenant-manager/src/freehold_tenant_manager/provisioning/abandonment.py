"""Creations that nobody works on any more, because a process died over them, are undone in time.

They were never answered for. Undone, the same request made again starts afresh and gets its key.
"""

import structlog

from freehold.tenancy.catalog import Catalog
from freehold_tenant_manager.catalog.tenants import list_abandoned
from freehold_tenant_manager.provisioning.provisioner import Provisioner

_log = structlog.get_logger(__name__)


async def undo_abandoned(catalog: Catalog, provisioner: Provisioner, older_than_s: float) -> None:
    """Undo every creation that began this long ago and that nobody works on now.

    One that cannot be undone stays for the next time, and keeps no other from being undone.

    Raises:
        Problem: unavailable, where the catalog does not answer.
    """
    async with catalog.connection() as connection:
        abandoned = await list_abandoned(connection, older_than_s)
    for tenant_id in abandoned:
        try:
            await provisioner.undo_if_abandoned(tenant_id)
        except Exception:  # noqa: BLE001 (whatever it is, the others are not to wait for it)
            _log.exception("creation not undone yet", tenant_id=tenant_id)
