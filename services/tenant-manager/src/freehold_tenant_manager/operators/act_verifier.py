"""Verifies the audit log, also against the head that is kept with the stored catalog."""

from collections.abc import Awaitable, Callable

from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.contracts.operator_acts import OperatorActsVerification
from freehold_tenant_manager.operators.act_store import verify_acts

ShippedHead = Callable[[], Awaitable[tuple[int, bytes] | None]]
"""Gives the seq and the hash of the head in the last stored version; None where none is known."""


class ActVerifier:
    """Recomputes the chain of the audit log."""

    def __init__(self, catalog: Catalog, shipped_head: ShippedHead) -> None:
        self._catalog = catalog
        self._shipped_head = shipped_head

    async def verify(self) -> OperatorActsVerification:
        """Say whether the log is whole, and unchanged.

        Raises:
            Unavailable, Overloaded: The catalog does not answer.
        """
        shipped = await self._shipped_head()
        async with self._catalog.connection() as connection:
            return await verify_acts(connection, shipped)
