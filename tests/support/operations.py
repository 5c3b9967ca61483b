"""Operations of tenant-manager: asked about until they have ended."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import httpx

from freehold_client import NoAnswerError
from support.waiting import PATIENCE_S, eventually


async def ended(
    ask: Callable[[], Awaitable[httpx.Response]], *, within_s: float = PATIENCE_S
) -> dict[str, Any]:
    """Wait until an operation has ended, and give it.

    Args:
        ask: Asks for the operation. tenant-manager may be away meanwhile.
        within_s: How long to wait.
    """
    shown: dict[str, Any] = {}

    async def has_ended() -> bool:
        nonlocal shown
        try:
            shown = (await ask()).json()
        except (httpx.TransportError, NoAnswerError):
            return False
        return shown.get("finished_at") is not None

    try:
        await eventually(has_ended, "the operation ends", within_s=within_s)
    except AssertionError as error:
        raise AssertionError(shown) from error
    return shown


async def operation_ended(manager: httpx.AsyncClient, operation_id: object) -> dict[str, Any]:
    """Wait until an operation has ended, and give it.

    Args:
        manager: Asks tenant-manager.
        operation_id: The operation's id.
    """
    return await ended(partial(manager.get, f"/v1/operations/{operation_id}"))


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
