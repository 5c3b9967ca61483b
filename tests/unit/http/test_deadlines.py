"""Deadlines of requests, by a clock that the test turns."""

from collections.abc import Callable
from typing import Any, cast

from freehold.http.deadlines import Deadlines


class Clock:
    """As much of an event loop as deadlines need."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, Callable[..., object], tuple[Any, ...]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[..., object], *arguments: Any) -> None:
        self._due.append((when, call, arguments))

    def turn_to(self, now: float) -> None:
        self.now = now
        due = [entry for entry in self._due if entry[0] <= now]
        self._due = [entry for entry in self._due if entry[0] > now]
        for _, call, arguments in due:
            call(*arguments)


class Task:
    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


def test_what_a_client_takes_for_a_body_is_not_taken_from_the_time_of_its_answer() -> None:
    clock = Clock()
    deadlines = Deadlines(10, loop=cast("Any", clock))
    tasks = Task(), Task(), Task()
    slow, silent, last = cast("Any", tasks)
    deadlines.begin(slow)
    deadlines.begin(silent)
    clock.turn_to(9)
    deadlines.renew(slow)
    deadlines.begin(last)
    clock.turn_to(10)
    assert [task.cancelled for task in tasks] == [False, True, False]
    # One that is late already stays so.
    deadlines.renew(silent)
    deadlines.end(last)
    clock.turn_to(18)
    assert [task.cancelled for task in tasks] == [False, True, False]
    clock.turn_to(19)
    assert [task.cancelled for task in tasks] == [True, True, False]
