"""Periodic work: repeated while a service runs. A round that fails does not end the repetition."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from freehold.aio.tasks import end
from freehold.contracts.errors import DomainError

_log = structlog.get_logger(__name__)


class Periodic:
    """One piece of work, repeated with a pause."""

    def __init__(
        self,
        name: str,
        work: Callable[[], Awaitable[bool]],
        *,
        pause_s: float,
        after: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Describe the work.

        Args:
            name: Its name in the log.
            work: Does one round. Returns whether more is waiting: the next round then follows at
                once.
            pause_s: The pause in seconds when nothing is waiting.
            after: Waits for what the first round needs.
        """
        self._name = name
        self._work = work
        self._pause_s = pause_s
        self._after = after
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start the first round."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop, in the middle of a round if need be."""
        if self._task:
            await end(self._task)

    async def _run(self) -> None:
        if self._after is not None:
            await self._after()
        while True:
            more = False
            try:
                more = await self._work()
            except DomainError as error:
                _log.warning("background work waits", work=self._name, fault=error.detail)
            except Exception:  # noqa: BLE001 (whatever it is, the next round may do better)
                _log.exception("background work failed", work=self._name)
            if not more:
                await asyncio.sleep(self._pause_s)
