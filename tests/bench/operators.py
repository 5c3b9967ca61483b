"""The operator of a stack."""

import httpx

from freehold_local.stack import Stack


def operator(stack: Stack) -> httpx.AsyncClient:
    """Make a client of tenant-manager that may do everything."""
    environment = stack.env()
    return httpx.AsyncClient(
        base_url=environment["FREEHOLD_TENANT_MANAGER_URL"],
        headers={"Authorization": f"Bearer {environment['FREEHOLD_OPERATOR_TOKEN']}"},
        timeout=60,
        trust_env=False,
    )
