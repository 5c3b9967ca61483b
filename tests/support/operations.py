"""Operations of tenant-manager: asked about until they have ended."""

from typing import Any

import httpx

from support.waiting import eventually


async def operation_ended(manager: httpx.AsyncClient, operation_id: object) -> dict[str, Any]:
    """Wait until an operation has ended, and give it.

    Args:
        manager: Asks tenant-manager, which may be away meanwhile.
        operation_id: The operation's id.
    """
    shown: dict[str, Any] = {}

    async def has_ended() -> bool:
        nonlocal shown
        try:
            shown = (await manager.get(f"/v1/operations/{operation_id}")).json()
        except httpx.TransportError:
            return False
        return shown.get("finished_at") is not None

    try:
        await eventually(has_ended, "the operation ends")
    except AssertionError as error:
        raise AssertionError(shown) from error
    return shown


async def request_ended(manager: httpx.AsyncClient, asked: httpx.Response) -> dict[str, Any]:
    """Wait until the operation that a request began has ended, and give it.

    Args:
        manager: Asks tenant-manager.
        asked: The answer to the request.
    """
    assert asked.status_code == 202, asked.text
    return await operation_ended(manager, asked.json()["operation_id"])


def result_of(operation: dict[str, Any]) -> dict[str, Any]:
    """The result of an operation that succeeded."""
    assert operation["status"] == "succeeded", operation
    result: dict[str, Any] = operation["result"]
    return result
