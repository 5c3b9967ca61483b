"""One worker per key: batches, independent keys, pauses that end early, closing by a deadline."""

import asyncio
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from freehold.aio import keyed_worker
from freehold.aio.keyed_worker import KeyedWorkers, Worker

NEVER_S = 600.0


@dataclass(slots=True, eq=False)
class Inbox(Worker[str]):
    items: list[int] = field(default_factory=list)

    @property
    def pending(self) -> bool:
        return bool(self.items)


class Rounds:
    """Keeps what each round took; a round waits for its key's gate, then rests."""

    def __init__(self, *, rest_s: float = 0.0, until_woken: bool = False) -> None:
        self.taken: list[tuple[str, list[int]]] = []
        self.closed_gates: dict[str, asyncio.Event] = {}
        self.faults: list[BaseException] = []
        self.rest_s = rest_s
        self.until_woken = until_woken
        self.workers = KeyedWorkers(Inbox, self.serve)

    async def serve(self, inbox: Inbox) -> None:
        items, inbox.items = inbox.items, []
        if self.faults:
            inbox.items = items
            raise self.faults.pop()
        self.taken.append((inbox.key, items))
        if gate := self.closed_gates.get(inbox.key):
            await gate.wait()
        if self.rest_s:
            await inbox.pause(self.rest_s, until_woken=self.until_woken)

    def put(self, key: str, *items: int) -> None:
        for item in items:
            self.workers.wake(key).items.append(item)

    def shut(self, key: str) -> asyncio.Event:
        self.closed_gates[key] = gate = asyncio.Event()
        return gate


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_arrives_during_a_round_is_taken_together_by_the_next() -> None:
    rounds = Rounds()
    gate = rounds.shut("a")
    rounds.put("a", 1)
    await settle()
    rounds.put("a", 2, 3)
    gate.set()
    await rounds.workers.drain()
    assert rounds.taken == [("a", [1]), ("a", [2, 3])]


async def test_a_worker_ends_with_its_work_and_starts_again_with_more() -> None:
    rounds = Rounds()
    rounds.put("a", 1)
    assert "a" in rounds.workers
    await rounds.workers.drain()
    assert "a" not in rounds.workers
    assert list(rounds.workers) == []
    rounds.put("a", 2)
    await rounds.workers.drain()
    assert rounds.taken == [("a", [1]), ("a", [2])]


async def test_a_key_that_hangs_delays_no_other() -> None:
    rounds = Rounds()
    gate = rounds.shut("slow")
    rounds.put("slow", 1)
    rounds.put("b", 2)
    rounds.put("c", 3)
    await settle()
    assert [worker.key for worker in rounds.workers] == ["slow"]
    assert [key for key, _ in rounds.taken] == ["slow", "b", "c"]
    gate.set()
    await rounds.workers.drain()


async def test_a_round_that_fails_is_logged_and_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed_worker, "_RETRY_S", 0.0)
    rounds = Rounds()
    rounds.faults = [ValueError("no"), ValueError("not yet")]
    with capture_logs() as logs:
        rounds.put("a", 1)
        await rounds.workers.drain()
    assert rounds.taken == [("a", [1])]
    assert [line["event"] for line in logs] == ["a worker's round failed"] * 2


async def test_closing_ends_pauses_and_waits_for_what_is_pending() -> None:
    rounds = Rounds(rest_s=NEVER_S)
    rounds.put("a", 1)
    await settle()
    rounds.put("a", 2)
    await settle()
    assert rounds.taken == [("a", [1])]
    assert await rounds.workers.close(NEVER_S)
    assert rounds.taken == [("a", [1]), ("a", [2])]


async def test_closing_cancels_what_misses_the_deadline() -> None:
    rounds = Rounds()
    rounds.shut("a")
    rounds.put("a", 1)
    await settle()
    rounds.put("never begun", 2)
    assert not await rounds.workers.close(0)
    assert list(rounds.workers) == []


async def test_a_worker_started_while_closing_does_not_pause() -> None:
    rounds = Rounds(rest_s=NEVER_S)
    await rounds.workers.close(NEVER_S)
    rounds.put("a", 1)
    await rounds.workers.drain()
    assert rounds.taken == [("a", [1])]


async def test_a_wake_ends_the_pause_of_a_key() -> None:
    rounds = Rounds(rest_s=NEVER_S, until_woken=True)
    gate = rounds.shut("a")
    rounds.put("a", 1)
    await settle()
    # Woken before the pause begins: there is none.
    rounds.put("a", 2)
    gate.set()
    await settle()
    # Woken during it.
    rounds.put("a", 3)
    await settle()
    assert rounds.taken == [("a", [1]), ("a", [2]), ("a", [3])]
    assert await rounds.workers.close(NEVER_S)
