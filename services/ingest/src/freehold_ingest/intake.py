"""The intake: what is done with a body, whichever way it came in, and what is answered to it."""

from collections import Counter
from uuid import UUID

from freehold.contracts.events import NewBatch, NewEvent, NewReversal
from freehold.ledger.client import AppendRequest, Reversal, fingerprint
from freehold.service.bodies import field_errors, parse
from freehold.tenancy.homes import Home
from freehold_ingest.answers import Reply, minimal_batch, one_event, reply, whole_batch
from freehold_ingest.appender import Appender


class Intake:
    """Reads bodies, has them appended, and writes the answers. Every refusal is a Problem."""

    def __init__(self, appender: Appender) -> None:
        self._appender = appender

    async def event(self, home: Home, key: str, body: bytes) -> Reply:
        """Append one event."""
        additions = [parse(NewEvent, body)]
        wanted = AppendRequest(key, fingerprint("event", additions), additions)
        return reply(await self._appender.append(home, wanted), one_event)

    async def batch(self, home: Home, key: str, body: bytes, *, minimal: bool = False) -> Reply:
        """Append events together: all or none."""
        additions = parse(NewBatch, body).events
        _refuse_repeated_external_ids(additions)
        wanted = AppendRequest(key, fingerprint("batch", additions), additions)
        answer = await self._appender.append(home, wanted)
        return reply(answer, minimal_batch if minimal else whole_batch)

    async def reversal(self, home: Home, key: str, event_id: UUID, body: bytes) -> Reply:
        """Append the event that undoes another."""
        additions = [Reversal(event_id, parse(NewReversal, body or b"{}"))]
        wanted = AppendRequest(key, fingerprint("reversal", additions), additions)
        return reply(await self._appender.append(home, wanted), one_event)


def _refuse_repeated_external_ids(events: list[NewEvent]) -> None:
    counts = Counter(event.external_id for event in events if event.external_id is not None)
    if len(counts) == counts.total():
        return
    raise field_errors(
        (f"/events/{place}/external_id", "an external_id may stand only once in a batch")
        for place, event in enumerate(events)
        if event.external_id is not None and counts[event.external_id] > 1
    )
