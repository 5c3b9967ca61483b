"""Balances as they change: a stream that comes again after a cut, and misses nothing."""

import re
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass

import msgspec

from freehold_client.calls import Call, decode, new_call
from freehold_client.core import Core
from freehold_client.errors import NoAnswerError, problem_of
from freehold_client.generated.models import AccountBalance
from freehold_client.generated.routes import ROUTES
from freehold_client.methods import Series
from freehold_client.pauses import spread

_RETRY_S = 2.0
# The server sends a comment each 15 s, unless it is set otherwise.
_SILENCE_S = 60.0
# A carriage return at the very end may be followed by the line feed that belongs to it.
_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")


@dataclass(frozen=True, slots=True)
class BalanceChange:
    """A balance that changed; of a snapshot, one that there is."""

    balance: AccountBalance
    event_id: str
    """As `last_event_id` it resumes the stream after this change."""


@dataclass(frozen=True, slots=True)
class LedgerRestarted:
    """The ledger was restored: all balances known so far are void, and all follow anew."""

    epoch: int


def stream_balances(
    *, account_prefix: str = "", snapshot: bool = False, last_event_id: str | None = None
) -> Series[BalanceChange | LedgerRestarted]:
    """Give balances as they change, until the loop is left.

    A stream that is cut is resumed where it was. Changes of one balance that follow each other
    closely may come as one; its last one always comes.

    Args:
        account_prefix: Only accounts whose ids begin so.
        snapshot: Whether all balances come first.
        last_event_id: The `event_id` of a change, to go on after it.

    Raises:
        Problem: The stream is refused, or ended: the key was revoked, the tenant suspended.
        NoAnswerError: The service cannot be reached for `retry_for_s`.
    """
    call: Call[None] = new_call(
        ROUTES["stream_balances"],
        None,
        params={"account_prefix": account_prefix or None, "snapshot": snapshot or None},
        headers={"Accept": "text/event-stream"},
    )

    async def follow(core: Core) -> AsyncGenerator[BalanceChange | LedgerRestarted, None]:
        reader = EventReader(last_event_id or "")
        while True:
            begun = False
            resuming = {"Last-Event-ID": reader.last_event_id} if reader.last_event_id else {}
            try:
                async with core.opened(call, timeout_s=_SILENCE_S, **resuming) as pieces:
                    begun = True
                    async for piece in pieces:
                        for event in reader.feed(piece):
                            if (change := _change(event)) is not None:
                                yield change
            except NoAnswerError:
                if not begun:
                    raise
            reader = EventReader(reader.last_event_id)
            await core.transport(call.route.service).pause(spread(_RETRY_S))

    return follow


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """An event of a stream."""

    kind: str
    data: bytes
    event_id: str


class EventReader:
    """Reads Server-Sent Events from bytes as they come (WHATWG HTML, section 9.2.6).

    Args:
        last_event_id: That of the stream which this one resumes.
    """

    def __init__(self, last_event_id: str = "") -> None:
        self.last_event_id = last_event_id
        self._coming_id = last_event_id
        self._kind = ""
        self._data: list[bytes] = []
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[ServerEvent]:
        """Take bytes, and give the events that are whole with them."""
        *lines, self._rest = _LINE_END.split(self._rest + piece)
        for line in lines:
            if line:
                self._take(line)
                continue
            # Kept without data, too: a comment tells the position that way.
            self.last_event_id = self._coming_id
            if self._data:
                kind = self._kind or "message"
                yield ServerEvent(kind, b"\n".join(self._data), self.last_event_id)
            self._kind = ""
            self._data = []

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._kind = value.decode()
        elif name == b"id" and b"\0" not in value:
            self._coming_id = value.decode()


class _Epoch(msgspec.Struct):
    epoch: int


def _change(event: ServerEvent) -> BalanceChange | LedgerRestarted | None:
    """Give what an event tells; None for a kind that is not known yet.

    Raises:
        Problem: The event tells why the stream ends.
    """
    if event.kind == "balance":
        return BalanceChange(decode(event.data, AccountBalance), event.event_id)
    if event.kind == "restart":
        return LedgerRestarted(decode(event.data, _Epoch).epoch)
    if event.kind == "problem":
        raise problem_of(msgspec.json.decode(event.data), {})
    return None
