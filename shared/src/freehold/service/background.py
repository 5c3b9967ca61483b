"""Background work: done again and again while a service runs, whatever one round brings."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from freehold.contracts.problems import Problem

_log = structlog.get_logger(__name__)


class Periodic:
    """One piece of work, repeated with a pause. No fault of a round ends the repetition."""

    def __init__(self, name: str, work: Callable[[], Awaitable[bool]], *, pause_s: float) -> None:
        """Describe the work.

        Args:
            name: What the log calls it.
            work: One round; answers whether more is waiting, so that the next follows at once.
            pause_s: How long to wait where nothing is.
        """
        self._name = name
        self._work = work
        self._pause_s = pause_s
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin with the first round."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """End, in the middle of a round if need be."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            more = False
            try:
                more = await self._work()
            except Problem as problem:
                _log.warning("background work waits", work=self._name, fault=problem.detail)
            except Exception:  # noqa: BLE001 (whatever it is, the next round may do better)
                _log.exception("background work failed", work=self._name)
            if not more:
                await asyncio.sleep(self._pause_s)
