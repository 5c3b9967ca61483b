"""One worker per key: a task that serves what waits for its key, and ends when nothing is left.

- A worker is started by the first `wake` of its key. Keys are independent: a slow or failing one
  delays no other.
- What arrives while a worker is busy gathers in it, and the next round takes it all. How it
  gathers (a queue, the newest only, a sum) is up to the subclass of `Worker`.
- Nothing is overlooked. `wake` returns the worker without an await, and the caller puts its item
  in without one; no await lies between a worker's last look at `pending` and its end either.
- A round that raises is logged and repeated after a pause.
- `close` ends pauses early, lets the workers finish, and cancels those that miss the deadline.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import structlog

from freehold.aio.tasks import end
from freehold.observability import traces

Key = TypeVar("Key", bound=Hashable)

_log = structlog.get_logger(__name__)
_RETRY_S = 1.0


@dataclass(slots=True, eq=False)
class Worker(ABC, Generic[Key]):
    """What waits for one key. A subclass adds fields for it."""

    key: Key
    closing: bool = field(default=False, init=False)
    """Whether the workers are closing: a round that cannot succeed soon should give up."""
    woken: bool = field(default=False, init=False)
    """Whether the worker was woken since its current round began."""
    task: asyncio.Task[None] | None = field(default=None, init=False, repr=False)
    """What serves it."""
    alarm: asyncio.Future[None] | None = field(default=None, init=False, repr=False)
    """Ends the current pause."""
    alarm_on_wake: bool = field(default=False, init=False, repr=False)

    @property
    @abstractmethod
    def pending(self) -> bool:
        """Whether another round is needed. The worker ends when it is not."""

    async def pause(self, seconds: float, *, until_woken: bool = False) -> None:
        """Wait, but no longer than until the workers close or, if asked, the key is woken."""
        if self.closing or (until_woken and self.woken):
            # A round that never suspends would keep the loop from everything else.
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        self.alarm = loop.create_future()
        self.alarm_on_wake = until_woken
        timer = loop.call_later(seconds, self.end_pause)
        try:
            await self.alarm
        finally:
            timer.cancel()
            self.alarm = None

    def end_pause(self) -> None:
        """End the current pause, if there is one."""
        if self.alarm is not None and not self.alarm.done():
            self.alarm.set_result(None)


AnyWorker = TypeVar("AnyWorker", bound=Worker[Any])


class KeyedWorkers(Generic[Key, AnyWorker]):
    """The workers of all keys that have something to do now."""

    def __init__(
        self, make: Callable[[Key], AnyWorker], serve: Callable[[AnyWorker], Awaitable[None]]
    ) -> None:
        """Describe the work.

        Args:
            make: Makes the worker of a key.
            serve: Does one round: takes what waits in the worker, and handles it. It is called
                again while `pending` is true. It pauses by `Worker.pause`, and limits how many
                keys it serves at once by a semaphore of its own.
        """
        self._make = make
        self._serve = serve
        self._workers: dict[Key, AnyWorker] = {}
        self._closing = False

    def __iter__(self) -> Iterator[AnyWorker]:
        """Iterate over the workers that run now, including those that pause."""
        return iter(self._workers.values())

    def __contains__(self, key: Key) -> bool:
        """Whether a key has a worker now."""
        return key in self._workers

    def wake(self, key: Key) -> AnyWorker:
        """Give a key's worker, started if need be. Put the item in before the next await."""
        worker = self._workers.get(key)
        if worker is None:
            worker = self._workers[key] = self._make(key)
            worker.closing = self._closing
            worker.task = asyncio.create_task(self._run(worker))
        worker.woken = True
        if worker.alarm is not None and worker.alarm_on_wake:
            worker.end_pause()
        return worker

    async def drain(self) -> None:
        """Wait until no worker is left."""
        while self._workers:
            await asyncio.wait(self._tasks())

    async def close(self, timeout_s: float) -> bool:
        """Let the workers finish, and cancel those that have not after `timeout_s`.

        Returns:
            Whether all finished in time.
        """
        self._closing = True
        for worker in self:
            worker.closing = True
            worker.end_pause()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.drain()
        finished = not self._workers
        await end(*self._tasks())
        # A task that is cancelled before its first step does not remove itself.
        self._workers.clear()
        return finished

    async def _run(self, worker: AnyWorker) -> None:
        traces.leave()
        try:
            while worker.pending:
                worker.woken = False
                try:
                    await self._serve(worker)
                except Exception:  # noqa: BLE001 (a fault must not lose what waits)
                    _log.exception("a worker's round failed", worker=type(worker).__qualname__)
                    await asyncio.sleep(_RETRY_S)
        finally:
            del self._workers[worker.key]

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [worker.task for worker in self if worker.task is not None]
