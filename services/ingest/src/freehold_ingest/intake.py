"""The intake of events: reads a body of HTTP or AMQP, has it appended, and answers."""

from collections import Counter
from collections.abc import Sequence

from freehold.contracts.events import NewBatch, NewEvent, NewReversal
from freehold.http.bodies import field_errors, parse
from freehold.http.direct import Reply
from freehold.ledger.append import AppendRequest, Reversal, fingerprint
from freehold.tenants.homes import Home
from freehold_ingest.answers import minimal_batch, one_event, reply, whole_batch
from freehold_ingest.append_routes import Submission
from freehold_ingest.appender import Appender
from freehold_ingest.limits import Limits


class Intake:
    """Reads bodies, has them appended, and writes the answers. Every refusal is a DomainError.

    Takes requests that were let in (`Limits.enter`), and counts their events.
    """

    def __init__(self, appender: Appender, limits: Limits) -> None:
        self._appender = appender
        self._limits = limits

    async def event(self, home: Home, key: str, body: bytes, *, in_order: bool = False) -> Reply:
        """Append one event; `in_order` as for `Appender.append`."""
        additions = [parse(NewEvent, body)]
        wanted = AppendRequest(key, fingerprint("event", additions), additions)
        answer = await self._appender.append(home, wanted, in_order=in_order)
        return reply(answer, one_event)

    async def batch(
        self, home: Home, key: str, body: bytes, *, minimal: bool, in_order: bool = False
    ) -> Reply:
        """Append events together, all or none; `in_order` as for `Appender.append`."""
        additions = parse(NewBatch, body).events
        self._limits.spend(home, len(additions))
        refuse_repeated_external_ids(additions, "/events")
        wanted = AppendRequest(key, fingerprint("batch", additions), additions)
        answer = await self._appender.append(home, wanted, in_order=in_order)
        return reply(answer, minimal_batch if minimal else whole_batch, "/events")

    async def reversal(self, asked: Submission) -> Reply:
        """Append the event that undoes another."""
        additions = [Reversal(asked.target, parse(NewReversal, asked.body or b"{}"))]
        wanted = AppendRequest(asked.key, fingerprint("reversal", additions), additions)
        return reply(await self._appender.append(asked.home, wanted), one_event, None)


def refuse_repeated_external_ids(events: Sequence[NewEvent], at: str) -> None:
    """Refuse events of one request that share an external id; the body has them `at` a pointer.

    Raises:
        DomainError: validation-failed.
    """
    counts = Counter(event.external_id for event in events if event.external_id is not None)
    if len(counts) == counts.total():
        return
    raise field_errors(
        (f"{at}/{number}/external_id", "external_id must stand only once in a request")
        for number, event in enumerate(events)
        if event.external_id is not None and counts[event.external_id] > 1
    )
