"""A client of live streams, which reads them as browsers do (WHATWG HTML, section 9.2.6)."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from freehold_client import BalanceChange, LedgerRestarted
from support.clients import Tenant
from support.documents import Document
from support.waiting import PATIENCE_S, eventually


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream."""

    kind: str
    data: Document
    event_id: str


@dataclass
class Live:
    """What a stream has sent so far."""

    last_id: str = ""
    events: list[Event] = field(default_factory=list)
    balances: dict[tuple[str, str], int] = field(default_factory=dict)
    """What a page shows: the latest of each balance, since the last restart."""
    seqs: dict[tuple[str, str], int] = field(default_factory=dict)
    """The last event of each of them."""
    comments: int = 0
    retry_ms: int | None = None
    has_ended: bool = False
    _lines: list[str] = field(default_factory=list)

    def start_over(self) -> None:
        """Begin another stream: what was cut off in the middle never came."""
        self._lines.clear()
        self.has_ended = False

    def read(self, line: str) -> None:
        """Take a line."""
        if line:
            self._lines.append(line)
            return
        fields = [each.partition(":")[::2] for each in self._lines]
        self._lines.clear()
        named = {name: value.removeprefix(" ") for name, value in fields}
        self.last_id = named.get("id", self.last_id)
        self.comments += "" in named
        self.retry_ms = int(named["retry"]) if "retry" in named else self.retry_ms
        if "data" in named:
            self._take(
                Event(named.get("event", "message"), json.loads(named["data"]), self.last_id)
            )

    def _take(self, event: Event) -> None:
        self.events.append(event)
        if event.kind == "restart":
            self.balances.clear()
            self.seqs.clear()
        if event.kind == "balance":
            balance = event.data["account_id"], event.data["currency"]
            self.balances[balance] = int(event.data["current_balance_minor"])
            # What is shown never goes back.
            assert event.data["last_seq"] >= self.seqs.get(balance, 0)
            self.seqs[balance] = event.data["last_seq"]

    @property
    def kinds(self) -> list[str]:
        """What kinds of events came, in their order."""
        return [event.kind for event in self.events]

    async def shows(
        self, balances: Mapping[tuple[str, str], int], *, within_s: float = PATIENCE_S
    ) -> None:
        """Wait until the page shows exactly these."""

        async def there() -> bool:
            return self.balances == balances

        await eventually(there, f"{balances} are shown", within_s=within_s, every_s=0.01)

    async def until(self, look: Callable[["Live"], bool], what: str) -> None:
        """Wait until something came."""

        async def seen() -> bool:
            return look(self)

        await eventually(seen, what, every_s=0.01)

    async def ends(self, *, within_s: float = PATIENCE_S) -> Event:
        """Wait for the end, and give the last event before it."""

        async def over() -> bool:
            return self.has_ended

        await eventually(over, "the stream ends", within_s=within_s)
        return self.events[-1]


@asynccontextmanager
async def listening(
    tenant: Tenant,
    headers: Mapping[str, str] | None = None,
    *,
    into: Live | None = None,
    **params: Any,
) -> AsyncIterator[Live]:
    """Have a tenant's stream open for a while."""
    sent = dict(headers or {})
    if tenant.api_key:
        sent["Authorization"] = f"Bearer {tenant.api_key}"
    async with listening_at(tenant.freehold.addresses.query, sent, into=into, **params) as live:
        yield live


@asynccontextmanager
async def listening_at(
    query: str, headers: Mapping[str, str], *, into: Live | None = None, **params: Any
) -> AsyncIterator[Live]:
    """Have a stream open for a while; it has begun.

    Args:
        query: The service's URL.
        headers: The credential, and what else is sent.
        into: What an earlier stream has sent; this one goes on with it.
        params: The query string.
    """
    live = into or Live()
    live.start_over()
    async with (
        httpx.AsyncClient(trust_env=False, timeout=httpx.Timeout(PATIENCE_S)) as http,
        http.stream("GET", f"{query}/v1/stream", headers=headers, params=params) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")

        async def read() -> None:
            with suppress(httpx.TransportError):
                async for line in answer.aiter_lines():
                    live.read(line)
            live.has_ended = True

        reading = asyncio.create_task(read())
        try:
            yield live
        finally:
            reading.cancel()


async def until_balance(
    changes: AsyncIterator[BalanceChange | LedgerRestarted], amount_minor: int
) -> str:
    """Read the Python client's stream until the balance is this one, and give the position."""
    async with asyncio.timeout(PATIENCE_S):
        async for change in changes:
            assert isinstance(change, BalanceChange)
            if change.balance.current_balance_minor == amount_minor:
                return change.event_id
    raise AssertionError("a stream does not end by itself")
