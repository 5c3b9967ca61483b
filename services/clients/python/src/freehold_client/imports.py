"""Imports of any length, in requests of some thousands of events each.

Each request is answered before the next one goes out. So the progress is what the ledger has, and
a cut connection costs one request that is sent again. That is safe: the ledger knows each event by
its external_id.
"""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from freehold_client.calls import Call, decode, new_call
from freehold_client.core import Core
from freehold_client.errors import problem_of
from freehold_client.generated.models import ImportResult, RejectedLine
from freehold_client.generated.routes import ROUTES
from freehold_client.methods import Plan
from freehold_client.pauses import COME_AGAIN

NewEvents = (
    Iterable[Mapping[str, Any] | bytes | str] | AsyncIterable[Mapping[str, Any] | bytes | str]
)
"""Events, or lines of a file that has one on each."""

LINES_MAX = 20_000
_BYTES_MAX = 4 * 2**20


@dataclass(slots=True)
class ImportReport:
    """What became of the events so far."""

    lines: int = 0
    """How many events were decided, from the first on; empty lines count."""
    accepted: int = 0
    duplicates: int = 0
    """Events that the ledger has already."""
    conflicts: int = 0
    """The rejected ones whose external_id belongs to another event."""
    rejected_count: int = 0
    rejected: list[RejectedLine] = field(default_factory=list)
    """The first hundred of each request, with their numbers among all events, from 1 on."""

    def add(self, result: ImportResult) -> None:
        """Add the result of a request, whose events follow those so far."""
        self.rejected += [
            msgspec.structs.replace(line, line=self.lines + line.line) for line in result.rejected
        ]
        self.lines += result.lines
        self.accepted += result.accepted
        self.duplicates += result.duplicates
        self.conflicts += result.conflicts
        self.rejected_count += result.rejected_count


def import_events(
    events: NewEvents, *, on_progress: Callable[[ImportReport], object] | None = None
) -> Plan[ImportReport]:
    """Append any number of events, each known by its `external_id`.

    Sent again, whatever was cut off before, the same events append only what is missing.

    Args:
        events: Documents of events, or lines of a file that is open as bytes or text.
        on_progress: Called with the report so far after each few thousand events.

    Raises:
        Problem: The import is refused, or fails on every try. What was accepted stays.
        NoAnswerError: There is no answer on any try.
    """

    async def send(core: Core) -> ImportReport:
        report = ImportReport()
        async for lines in _portions(events):
            await _insist(core, lines, report)
            if on_progress is not None:
                on_progress(report)
        return report

    return send


async def _portions(events: NewEvents) -> AsyncIterator[list[bytes]]:
    """Give the lines of one request after the other."""
    lines: list[bytes] = []
    size = 0
    async for event in _each(events):
        line = _line(event)
        lines.append(line)
        size += len(line)
        if len(lines) >= LINES_MAX or size >= _BYTES_MAX:
            yield lines
            lines, size = [], 0
    if lines:
        yield lines


async def _each(events: NewEvents) -> AsyncIterator[Mapping[str, Any] | bytes | str]:
    if isinstance(events, AsyncIterable):
        async for event in events:
            yield event
    else:
        for event in events:
            yield event


def _line(event: Mapping[str, Any] | bytes | str) -> bytes:
    if isinstance(event, Mapping):
        return msgspec.json.encode(event)
    line = event.encode() if isinstance(event, str) else event
    return line.rstrip(b"\r\n")


async def _insist(core: Core, lines: list[bytes], report: ImportReport) -> None:
    """Send lines until all of them have been decided."""
    began = core.clock()
    tries = 0
    while lines:
        call = _call(lines)
        answer = await core.response(call)
        result = decode(answer.content.rstrip().rpartition(b"\n")[2], ImportResult)
        report.add(result)
        if result.error is None:
            return
        del lines[: result.lines]
        if result.lines:
            # What goes on has as much time again.
            began, tries = core.clock(), 0
        tries += 1
        problem = problem_of(result.error, {})
        pause_s = core.pauses.before(tries, core.clock() - began, None)
        if pause_s is None or problem.status not in COME_AGAIN:
            raise problem
        await core.transport(call.route.service).pause(pause_s)


def _call(lines: list[bytes]) -> Call[ImportResult]:
    call = new_call(
        ROUTES["import_events"], ImportResult, headers={"Content-Type": "application/x-ndjson"}
    )
    # An empty body is refused; an empty line is none.
    return replace(call, content=b"\n".join([*lines, b""]), is_repeatable=True)
