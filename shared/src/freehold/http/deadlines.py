"""Deadlines of requests: every request has the same time, so one timer serves them all."""

import asyncio
from typing import Any

Task = asyncio.Task[Any]


class Deadlines:
    """Cancels tasks that take too long.

    Args:
        timeout_s: The time that each task has.
        loop: Where there is no running event loop: the one whose clock counts.
    """

    def __init__(self, timeout_s: float, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._timeout_s = timeout_s
        self._loop = loop
        # In order of time, since new and renewed deadlines are added last.
        self._times: dict[Task, float] = {}
        self._late: set[Task] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Count the tasks under way."""
        return len(self._times)

    def begin(self, task: Task) -> None:
        """Set a task's deadline. `end` must follow."""
        loop = self._loop or asyncio.get_running_loop()
        deadline = self._times[task] = loop.time() + self._timeout_s
        if self._timer is None:
            self._timer = loop.call_at(deadline, self._cancel_late, loop)

    def renew(self, task: Task) -> None:
        """Give a task its whole time again, unless it is late already."""
        if task in self._times and task not in self._late:
            del self._times[task]
            self.begin(task)

    def is_late(self, task: Task) -> bool:
        """Say whether a task was cancelled for its deadline."""
        return task in self._late

    def end(self, task: Task) -> None:
        """Forget a task's deadline."""
        del self._times[task]
        self._late.discard(task)

    def _cancel_late(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for task, deadline in self._times.items():
            if deadline > now:
                self._timer = loop.call_at(deadline, self._cancel_late, loop)
                return
            if task not in self._late:
                self._late.add(task)
                task.cancel()
