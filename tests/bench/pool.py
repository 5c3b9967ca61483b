"""The pool of ready-made databases: filled, nothing is made beside what is measured."""

import httpx

from support.waiting import eventually

SIZE = 16


async def pool_is_full(tenant_manager: httpx.AsyncClient) -> None:
    """Wait until as many databases are ready as by default are kept."""

    async def look() -> bool:
        metrics = (await tenant_manager.get("/metrics")).text
        return f"\nfreehold_pool_databases {SIZE}.0\n" in metrics

    await eventually(look, "the pool is full")
