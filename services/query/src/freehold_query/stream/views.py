"""Views: what clients see who see the same accounts. It is written once for all of them."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from uuid import UUID

import orjson

from freehold.http.preferences import amounts_as_strings
from freehold.ledger.client import Record
from freehold.ledger.documents import balance_document
from freehold_query.stream.frames import balance_frame
from freehold_query.stream.positions import WHOLE, Position, Positions, Span

_BYTES_MAX = 2**20
"""More than the changes of one read. A client that is further behind reads for itself."""


class View:
    """The latest changes of the accounts with a prefix: the newest of each balance."""

    def __init__(
        self,
        tenant_id: str,
        account_prefix: str | None,
        position: UUID,
        *,
        as_strings: bool,
        span: Span = WHOLE,
    ) -> None:
        """Begin.

        Args:
            tenant_id: The tenant.
            account_prefix: What the accounts' ids begin with; None for no account.
            position: Changes up to this event are left out.
            as_strings: Whether amounts are written as strings.
            span: Balances outside it are left out, too.
        """
        self.account_prefix = account_prefix
        self.as_strings = as_strings
        self.span = span
        self.positions = Positions(tenant_id, account_prefix, span)
        self.clients: set[asyncio.Event] = set()
        """Each is set when there is something new."""
        self._left_out = position
        # In order of their events.
        self._frames: dict[tuple[str, str], tuple[UUID, bytes]] = {}
        self._bytes = 0
        self._joined: dict[UUID, bytes] = {}

    def shows(self, row: Record) -> bool:
        """Say whether a balance is in the view."""
        account_id: str = row["account_id"]
        return (
            self.account_prefix is not None
            and account_id.startswith(self.account_prefix)
            and self.span.has(account_id, row["currency"])
        )

    def frame(self, row: Record, position: Position) -> bytes:
        """Write a balance, with the position that a client has reached with it."""
        document = {"account_id": row["account_id"], **balance_document(row)}
        balance = orjson.dumps(document)
        return balance_frame(
            amounts_as_strings(balance) if self.as_strings else balance,
            self.positions.id_of(position),
        )

    def add(self, row: Record, epoch: int) -> None:
        """Add a change, which is newer than all before it."""
        event_id = row["last_ledger_event_id"]
        frame = self.frame(row, Position(epoch, event_id))
        balance = row["account_id"], row["currency"]
        _, replaced = self._frames.pop(balance, (None, b""))
        self._frames[balance] = event_id, frame
        self._bytes += len(frame) - len(replaced)
        while self._bytes > _BYTES_MAX:
            oldest = next(iter(self._frames))
            self._left_out, dropped = self._frames.pop(oldest)
            self._bytes -= len(dropped)
        self._joined.clear()

    def start_over(self, position: UUID) -> None:
        """Leave out the changes up to a position, which is in another epoch."""
        self._left_out = position
        self._frames.clear()
        self._joined.clear()
        self._bytes = 0

    def wake(self) -> None:
        """Have the clients look."""
        for client in self.clients:
            client.set()

    def after(self, event_id: UUID) -> bytes | None:
        """Give the changes after an event, oldest first; None if some of them are left out."""
        if event_id < self._left_out:
            return None
        joined = self._joined.get(event_id)
        if joined is None:
            newer: list[bytes] = []
            for changed_by, frame in reversed(self._frames.values()):
                if changed_by <= event_id:
                    break
                newer.append(frame)
            joined = self._joined[event_id] = b"".join(reversed(newer))
        return joined


class Views:
    """The views of one tenant that have clients."""

    def __init__(self, tenant_id: str) -> None:
        self._tenant_id = tenant_id
        self._views: dict[tuple[str | None, bool], dict[Span, View]] = {}
        # How many have a prefix of each length.
        self._lengths: Counter[int] = Counter()

    def __iter__(self) -> Iterator[View]:
        """Iterate over all."""
        return chain.from_iterable(views.values() for views in self._views.values())

    def enter(
        self,
        client: asyncio.Event,
        account_prefix: str | None,
        position: UUID,
        *,
        as_strings: bool,
        span: Span = WHOLE,
    ) -> View:
        """Add a client; the changes after a position will be in the view."""
        views = self._views.setdefault((account_prefix, as_strings), {})
        view = views.get(span)
        if view is None:
            view = views[span] = View(
                self._tenant_id, account_prefix, position, as_strings=as_strings, span=span
            )
            self._lengths[len(account_prefix or "")] += 1
        view.clients.add(client)
        return view

    def leave(self, client: asyncio.Event, view: View) -> None:
        """Remove a client, and the view with the last one."""
        view.clients.discard(client)
        if not view.clients:
            views = self._views[view.account_prefix, view.as_strings]
            del views[view.span]
            if not views:
                del self._views[view.account_prefix, view.as_strings]
            self._lengths[len(view.account_prefix or "")] -= 1

    def of(self, row: Record) -> Iterator[View]:
        """Give the views that a balance is in, without a look at those of other prefixes."""
        account_id: str = row["account_id"]
        for length in +self._lengths:
            for as_strings in (False, True) if length <= len(account_id) else ():
                for view in self._views.get((account_id[:length], as_strings), {}).values():
                    if view.span.has(account_id, row["currency"]):
                        yield view
