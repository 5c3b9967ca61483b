"""Ending tasks that do not end by themselves."""

import asyncio
from typing import Any

import structlog

_log = structlog.get_logger(__name__)

_AGAIN_S = 2.0


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they have ended. A failure of theirs is logged.

    A task that goes on is cancelled again. A cancellation is lost if it comes in the same turn of
    the loop as the result that the task waits for (asyncio.wait_for before Python 3.12, cpython
    issue 86296).
    """
    while going_on := {task for task in tasks if not task.done()}:
        for task in going_on:
            task.cancel()
        await asyncio.wait(going_on, timeout=_AGAIN_S)
    for task in tasks:
        if not task.cancelled() and (fault := task.exception()) is not None:
            _log.error("a task had failed", task=task.get_name(), exc_info=fault)
