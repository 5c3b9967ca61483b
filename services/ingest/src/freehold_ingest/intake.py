"""The intake: what is done with a body, whichever way it came in, and what is answered to it."""

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from freehold.contracts.events import NewBatch, NewEvent, NewReversal
from freehold.ledger import client as ledger
from freehold.ledger.appending import AppendRequest, Outcome, Reversal, Row, fingerprint
from freehold.service.bodies import field_errors, parse
from freehold.tenancy.homes import Home
from freehold_ingest.answers import Reply, minimal_batch, one_event, reply, whole_batch
from freehold_ingest.appender import Appender
from freehold_ingest.calls import Calls
from freehold_ingest.limits import Limits


class Intake:
    """Reads bodies, has them appended, and writes the answers. Every refusal is a Problem.

    Takes requests that were let in (`Limits.enter`), and counts their events.
    """

    def __init__(self, appender: Appender, calls: Calls, limits: Limits) -> None:
        self._appender = appender
        self._calls = calls
        self._limits = limits

    async def event(self, home: Home, key: str, body: bytes, *, in_order: bool) -> Reply:
        """Append one event; `in_order` as for `Appender.append`."""
        additions = [parse(NewEvent, body)]
        wanted = AppendRequest(key, fingerprint("event", additions), additions)
        answer = await self._appender.append(home, wanted, in_order=in_order)
        return reply(answer, one_event, wanted)

    async def batch(
        self, home: Home, key: str, body: bytes, *, minimal: bool, in_order: bool
    ) -> Reply:
        """Append events together, all or none; `in_order` as for `Appender.append`."""
        additions = parse(NewBatch, body).events
        self._limits.spend(home, len(additions))
        refuse_repeated_external_ids(additions, "/events")
        wanted = AppendRequest(key, fingerprint("batch", additions), additions)
        answer = await self._appender.append(home, wanted, in_order=in_order)
        return reply(answer, minimal_batch if minimal else whole_batch, wanted, "/events")

    async def reversal(self, home: Home, key: str, event_id: UUID, body: bytes) -> Reply:
        """Append the event that undoes another."""
        additions = [Reversal(event_id, parse(NewReversal, body or b"{}"))]
        wanted = AppendRequest(key, fingerprint("reversal", additions), additions)
        answer = await self._appender.append(home, wanted)
        undone: list[Row] = []
        if answer.outcome is Outcome.INSUFFICIENT_FUNDS:
            # The request does not say whose event it is.
            async with self._calls.connection(home, "written") as connection:
                undone.append(await ledger.written(connection, event_id))
        return reply(answer, one_event, wanted, None, undone)


def refuse_repeated_external_ids(events: Sequence[NewEvent], at: str) -> None:
    """Refuse events of one request that share an external id.

    Args:
        events: The events.
        at: Where the body has them, as a JSON pointer.

    Raises:
        Problem: validation-failed.
    """
    counts = Counter(event.external_id for event in events if event.external_id is not None)
    if len(counts) == counts.total():
        return
    raise field_errors(
        (f"{at}/{place}/external_id", "an external_id may stand only once in a request")
        for place, event in enumerate(events)
        if event.external_id is not None and counts[event.external_id] > 1
    )
