"""An import: lines of any number, appended a chunk at a time while the next chunk is being read.

What is held at once is two chunks, however long the body. Chunks are appended in the order of their
lines, so what an import says of the lines up to some number holds, wherever it ends.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import asyncpg
import orjson
import structlog
from starlette.requests import ClientDisconnect

from freehold.contracts.imports import (
    REJECTED_SHOWN_MAX,
    ImportProgress,
    ImportResult,
    RejectedLine,
)
from freehold.contracts.problems import (
    INTERNAL,
    REQUEST_TIMEOUT,
    Problem,
    ProblemDocument,
    unavailable,
)
from freehold.ledger.appending import Answer, AppendRequest, Outcome
from freehold.service.lines import Line, Lines, read_event, rejected
from freehold.tenancy.homes import Home
from freehold_ingest.answers import refusal
from freehold_ingest.appender import Appender
from freehold_ingest.limits import Limits

_log = structlog.get_logger(__name__)
_CHUNK_LINES_MAX = 1_000
_CHUNK_BYTES_MAX = 2**20
_CHUNK_S_MAX = 0.5
# For so long the lines that are there are read without a pause: other clients' requests wait.
_IN_A_ROW_S_MAX = 0.001
_RETRY_S_MAX = 5.0


@dataclass(slots=True)
class _Chunk:
    """Lines that are appended together."""

    due: float
    """When it goes, full or not, in the event loop's time."""
    lines: int = 0
    bytes: int = 0
    numbers: list[int] = field(default_factory=list)
    requests: list[AppendRequest] = field(default_factory=list)
    refusals: list[tuple[int, Problem]] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        return self.lines >= _CHUNK_LINES_MAX or self.bytes >= _CHUNK_BYTES_MAX

    def add(self, line: Line) -> None:
        """Take a line in, or note why it is refused."""
        self.lines += 1
        if line.is_empty:
            return
        self.bytes += len(line.text or b"")
        try:
            event = read_event(line)
        except Problem as problem:
            self.refusals.append((line.number, problem))
        else:
            self.numbers.append(line.number)
            self.requests.append(AppendRequest(None, "", [event]))


class Import:
    """One import, and what became of its lines so far.

    Args:
        appender: Appends the events.
        limits: Says when the tenant may send more.
        caller: Says where the tenant is at home now, or raises the Problem of a caller who may no
            longer import. Asked for each chunk, since an import may outlive a key or a home.
        tenant_id: The tenant.
        patience_s: How long to wait for more bytes, or for a ledger that is busy or lost.
    """

    def __init__(
        self,
        appender: Appender,
        limits: Limits,
        caller: Callable[[], Awaitable[Home]],
        *,
        tenant_id: str,
        patience_s: float,
    ) -> None:
        self._appender = appender
        self._limits = limits
        self._caller = caller
        self._tenant_id = tenant_id
        self._patience_s = patience_s
        self._lines = 0
        self._accepted = 0
        self._duplicates = 0
        self._rejected_count = 0
        self._rejected: list[RejectedLine] = []
        self._error: Problem | None = None

    def progress(self) -> ImportProgress:
        """Say how far it has come."""
        return ImportProgress(
            line=self._lines,
            accepted=self._accepted,
            duplicates=self._duplicates,
            rejected_count=self._rejected_count,
        )

    def result(self) -> ImportResult:
        """Say how it ended, once `run` has."""
        error = self._error
        return ImportResult(
            done=error is None,
            tenant_id=self._tenant_id,
            lines=self._lines,
            accepted=self._accepted,
            duplicates=self._duplicates,
            rejected_count=self._rejected_count,
            rejected=self._rejected,
            error=error and ProblemDocument(**orjson.loads(error.body())),
        )

    async def run(self, pieces: AsyncIterator[bytes]) -> None:
        """Append what comes until it ends, or until something is in the way; `result` tells.

        Being cancelled is such a thing: it is the service that ends.

        Raises:
            ClientDisconnect: The connection was cut. Each chunk was appended whole or not at all.
        """
        deciding: asyncio.Task[None] | None = None
        try:
            async with aclosing(_chunks(pieces, self._patience_s)) as chunks:
                async for chunk in chunks:
                    if deciding is not None:
                        await deciding
                    deciding = asyncio.create_task(self._decide(chunk))
            if deciding is not None:
                await deciding
        except ClientDisconnect:
            raise
        except Problem as problem:
            self._error = problem
        except asyncio.CancelledError:
            self._error = unavailable("the service is ending")
        except Exception:  # noqa: BLE001 (the answer has begun, so it must say so itself)
            _log.exception("import failed", tenant_id=self._tenant_id)
            self._error = Problem(INTERNAL, "the service failed; its log has the request id")
        finally:
            if deciding is not None:
                deciding.cancel()
                await asyncio.gather(deciding, return_exceptions=True)

    async def _decide(self, chunk: _Chunk) -> None:
        """Append a chunk and count what became of its lines.

        Raises:
            Problem: It could not be appended within the patience there is.
        """
        answers = await self._insist(chunk) if chunk.lines else []
        for number, request, answer in zip(chunk.numbers, chunk.requests, answers, strict=True):
            if isinstance(answer, Problem):
                chunk.refusals.append((number, answer))
            elif answer.outcome is Outcome.CREATED:
                self._accepted += 1
            elif answer.outcome is Outcome.DUPLICATE_EXTERNAL_ID:
                self._duplicates += 1
            else:
                chunk.refusals.append((number, refusal(answer, request)))
        self._lines += chunk.lines
        self._rejected_count += len(chunk.refusals)
        shown = REJECTED_SHOWN_MAX - len(self._rejected)
        if shown > 0:
            chunk.refusals.sort(key=lambda refused: refused[0])
            self._rejected += [rejected(*refused) for refused in chunk.refusals[:shown]]

    async def _insist(self, chunk: _Chunk) -> Sequence[Answer | Problem]:
        """Append, and again where that is worth trying: the external ids make it safe.

        Every line is spent, empty and bad ones too: to read it was work, whatever is in it.
        """
        loop = asyncio.get_running_loop()
        give_up_at = None
        is_spent = False
        while True:
            try:
                home = await self._caller()
                if not is_spent:
                    await self._limits.spend_in_time(home, chunk.lines)
                    is_spent = True
                return await self._append(home, chunk.requests) if chunk.requests else []
            except Problem as problem:
                pause_s = min(int(problem.headers.get("Retry-After", 0)), _RETRY_S_MAX)
                give_up_at = give_up_at or loop.time() + self._patience_s
                if not pause_s or loop.time() + pause_s > give_up_at:
                    raise
            await asyncio.sleep(pause_s)

    async def _append(
        self, home: Home, requests: Sequence[AppendRequest]
    ) -> Sequence[Answer | Problem]:
        """Append, and find by halves the one that the database itself chokes on."""
        try:
            return await self._appender.append_each(home, requests)
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            if len(requests) == 1:
                _log.warning("imported event failed", fault=repr(error))
                return [Problem(INTERNAL, "the ledger failed on this event")]
            half = len(requests) // 2
            return [
                *await self._append(home, requests[:half]),
                *await self._append(home, requests[half:]),
            ]


async def _chunks(pieces: AsyncIterator[bytes], patience_s: float) -> AsyncGenerator[_Chunk, None]:
    """Gather lines into chunks. One that is not full goes before long, even if it is empty.

    Raises:
        Problem: request-timeout, where no bytes come.
        ClientDisconnect: The connection was cut.
    """
    loop = asyncio.get_running_loop()
    lines = Lines()
    chunk = _Chunk(loop.time() + _CHUNK_S_MAX)
    pause_at = loop.time() + _IN_A_ROW_S_MAX
    async with aclosing(_with_pauses(pieces, patience_s)) as heard:
        async for piece in heard:
            for line in lines.feed(piece):
                chunk.add(line)
                if chunk.is_full:
                    yield chunk
                    chunk = _Chunk(loop.time() + _CHUNK_S_MAX)
                if loop.time() >= pause_at:
                    await asyncio.sleep(0)
                    pause_at = loop.time() + _IN_A_ROW_S_MAX
            if loop.time() >= chunk.due:
                yield chunk
                chunk = _Chunk(loop.time() + _CHUNK_S_MAX)
    for line in lines.end():
        chunk.add(line)
    yield chunk


async def _with_pauses(
    pieces: AsyncIterator[bytes], patience_s: float
) -> AsyncGenerator[bytes, None]:
    """Give pieces as they come, and an empty one now and then where none do.

    Raises:
        Problem: request-timeout, where none came for so long.
    """
    loop = asyncio.get_running_loop()
    coming: asyncio.Future[bytes | None] | None = None
    asked = loop.time()
    try:
        while True:
            if coming is None:
                coming = asyncio.ensure_future(anext(pieces, None))
                asked = loop.time()
            # Not cancelled where it takes longer: a cancelled generator gives nothing more.
            await asyncio.wait({coming}, timeout=_CHUNK_S_MAX)
            if coming.done():
                piece = coming.result()
                coming = None
                if piece is None:
                    return
                yield piece
            elif loop.time() - asked >= patience_s:
                raise Problem(REQUEST_TIMEOUT, f"no bytes came for {patience_s:g} s")
            else:
                yield b""
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
