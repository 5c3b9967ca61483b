"""Waiting for operations."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from freehold_client import OperationFailedError
from support.scripted_client import Script, document, given

NewClient = Callable[[Script], Any]


def operation(status: str) -> httpx.Response:
    return document(
        {
            "operation_id": "5f2b6f0e-3c52-4f5e-9a53-2a1f6b7a9c11",
            "kind": "backup",
            "tenant_id": "acme",
            "status": status,
            "progress": 0.5,
            "message": "the disk is full",
            "result": {"bytes": 9} if status == "succeeded" else None,
            "created_at": "2026-03-01T12:00:00.000000Z",
            "finished_at": None,
        }
    )


async def test_an_operation_is_looked_at_until_it_ends(new_client: NewClient) -> None:
    script = Script(
        [operation("queued"), operation("running"), httpx.Response(502), operation("succeeded")]
    )
    client = new_client(script)
    seen: list[str] = []

    begun = await given(client.create_backup("acme"))
    ended = await given(
        client.wait_for_operation(
            begun, on_progress=lambda operation: seen.append(operation.status)
        )
    )

    assert ended.result == {"bytes": 9}
    assert seen == ["running", "succeeded"]
    assert script.asked[-1].url.path == f"/v1/operations/{begun.operation_id}"


async def test_a_failed_operation_is_an_error(new_client: NewClient) -> None:
    with pytest.raises(OperationFailedError, match="the disk is full") as caught:
        await given(new_client(Script([operation("failed")])).wait_for_operation("5f2b6f0e"))

    assert caught.value.operation.status == "failed"


async def test_waiting_has_an_end(new_client: NewClient) -> None:
    script = Script([operation("running")])

    with pytest.raises(TimeoutError):
        await given(new_client(script).wait_for_operation("5f2b6f0e", within_s=30))

    assert 20 < sum(script.pauses) <= 30
