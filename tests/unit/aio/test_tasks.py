"""A task that is to end ends, even if its first cancellation is lost."""

import asyncio
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from freehold.aio import tasks


async def test_a_task_that_lost_its_cancellation_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "_AGAIN_S", 0.01)
    lost = 0

    async def forgetful() -> None:
        nonlocal lost
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        lost += 1
        await asyncio.Event().wait()

    task = asyncio.create_task(forgetful())
    await asyncio.sleep(0)
    await tasks.end(task)
    assert task.cancelled()
    assert lost == 1


async def test_a_task_that_had_failed_is_logged() -> None:
    async def failing() -> None:
        raise RuntimeError("an unforeseen fault")

    task = asyncio.create_task(failing())
    await asyncio.sleep(0)
    with capture_logs() as logs:
        await tasks.end(task)
    assert [line["event"] for line in logs] == ["a task had failed"]
