"""An import: any number of lines, appended chunk by chunk while the next chunk is being read.

At most two chunks are held, however long the body. Chunks are appended in the order of their lines,
so the counts up to a line are final, wherever the import ends.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import asyncpg
import structlog
from starlette.requests import ClientDisconnect

from freehold.contracts.errors import DomainError, Internal, Unavailable, ValidationFailed
from freehold.contracts.imports import (
    REJECTED_SHOWN_MAX,
    ImportProgress,
    ImportResult,
    RejectedLine,
)
from freehold.contracts.problems import ProblemDocument
from freehold.http.errors import RequestTimeout
from freehold.http.lines import Line, Lines, read_event, rejected
from freehold.http.problems import Problem, unforeseen
from freehold.ledger.append import Answer, AppendRequest, Outcome
from freehold.tenants.homes import Home
from freehold_ingest.answers import is_known, refusal
from freehold_ingest.appender import Appender
from freehold_ingest.limits import Limits

_log = structlog.get_logger(__name__)
_CHUNK_LINES_MAX = 1_000
_CHUNK_BYTES_MAX = 2**20
_CHUNK_S_MAX = 0.5
# Lines are read for at most this time without a pause, since other requests wait meanwhile.
_IN_A_ROW_S_MAX = 0.001
_RETRY_S_MAX = 5.0


@dataclass(slots=True)
class _Chunk:
    """Lines that are appended together."""

    due: float
    """When it is appended even if it is not full, in the event loop's time."""
    lines: int = 0
    bytes: int = 0
    numbers: list[int] = field(default_factory=list)
    requests: list[AppendRequest] = field(default_factory=list)
    refusals: list[tuple[int, DomainError]] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        return self.lines >= _CHUNK_LINES_MAX or self.bytes >= _CHUNK_BYTES_MAX

    def add(self, line: Line) -> None:
        """Add a line, or the reason why it is refused."""
        self.lines += 1
        if line.is_empty:
            return
        self.bytes += len(line.text or b"")
        try:
            event = read_event(line)
        except DomainError as error:
            self.refusals.append((line.number, error))
        else:
            self.numbers.append(line.number)
            self.requests.append(AppendRequest(None, "", [event]))


class Import:
    """One import, and the counts of its lines so far.

    `caller` is called for each chunk, since an import may outlive a key or a home. It finds the
    tenant's home, or raises the error of a caller who may no longer import. More bytes, or a ledger
    that is busy or lost, are waited for `patience_s`.
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
        self._conflicts = 0
        self._rejected_count = 0
        self._rejected: list[RejectedLine] = []
        self._error: DomainError | None = None

    def progress(self) -> ImportProgress:
        """Give the counts so far."""
        return ImportProgress(
            line=self._lines,
            accepted=self._accepted,
            duplicates=self._duplicates,
            conflicts=self._conflicts,
            rejected_count=self._rejected_count,
        )

    def result(self) -> ImportResult:
        """Give the result, after `run`."""
        error = self._error
        return ImportResult(
            done=error is None,
            tenant_id=self._tenant_id,
            lines=self._lines,
            accepted=self._accepted,
            duplicates=self._duplicates,
            conflicts=self._conflicts,
            rejected_count=self._rejected_count,
            rejected=self._rejected,
            error=error and ProblemDocument.model_validate_json(Problem.of(error).body),
        )

    async def run(self, pieces: AsyncIterator[bytes]) -> None:
        """Append events until the body ends or an error occurs; `result` has either.

        Cancelling means that the service shuts down, and is such an error.

        Raises:
            ClientDisconnect: The connection was cut. Each chunk was appended as a whole or not.
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
            if not self._accepted + self._duplicates + self._rejected_count:
                self._error = no_events()
        except ClientDisconnect:
            raise
        except DomainError as error:
            self._error = error
        except asyncio.CancelledError:
            self._error = Unavailable("the service is ending")
        except Exception:  # noqa: BLE001 (the answer has begun, so it must name the error)
            _log.exception("import failed", tenant_id=self._tenant_id)
            self._error = unforeseen()
        finally:
            if deciding is not None:
                deciding.cancel()
                await asyncio.gather(deciding, return_exceptions=True)

    async def _decide(self, chunk: _Chunk) -> None:
        """Append a chunk and count its lines.

        Raises:
            DomainError: It could not be appended within `patience_s`.
        """
        answers = await self._insist(chunk) if chunk.lines else []
        for number, answer in zip(chunk.numbers, answers, strict=True):
            if isinstance(answer, DomainError):
                chunk.refusals.append((number, answer))
            elif answer.outcome is Outcome.CREATED:
                self._accepted += 1
            elif is_known(answer):
                self._duplicates += 1
            else:
                self._conflicts += answer.outcome is Outcome.DUPLICATE_EXTERNAL_ID
                chunk.refusals.append((number, refusal(answer)))
        self._lines += chunk.lines
        self._rejected_count += len(chunk.refusals)
        shown = REJECTED_SHOWN_MAX - len(self._rejected)
        if shown > 0:
            chunk.refusals.sort(key=lambda refused: refused[0])
            self._rejected += [rejected(*refused) for refused in chunk.refusals[:shown]]

    async def _insist(self, chunk: _Chunk) -> Sequence[Answer | DomainError]:
        """Append, and try again after errors that may pass: external ids make that safe.

        Empty and bad lines count against the limit too, since reading them is work.
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
            except DomainError as error:
                pause_s = min(error.retry_after_s or 0, _RETRY_S_MAX)
                give_up_at = give_up_at or loop.time() + self._patience_s
                if not pause_s or loop.time() + pause_s > give_up_at:
                    raise
            await asyncio.sleep(pause_s)

    async def _append(
        self, home: Home, requests: Sequence[AppendRequest]
    ) -> Sequence[Answer | DomainError]:
        """Append, and find by halving an event that the database itself refuses."""
        try:
            return await self._appender.append_each(home, requests, in_order=True)
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            if len(requests) == 1:
                _log.warning("imported event failed", fault=repr(error))
                return [Internal("the ledger failed on this event")]
            half = len(requests) // 2
            return [
                *await self._append(home, requests[:half]),
                *await self._append(home, requests[half:]),
            ]


def no_events() -> DomainError:
    """Make the error of an import without events: its sender failed before."""
    return ValidationFailed("the body holds no event; nothing was imported")


async def _chunks(pieces: AsyncIterator[bytes], patience_s: float) -> AsyncGenerator[_Chunk, None]:
    """Gather lines into chunks. A chunk that is not full is given after 0.5 s, even if empty.

    Raises:
        RequestTimeout: No bytes arrive.
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
    """Pass pieces on as they arrive, and an empty one each 0.5 s without any.

    Raises:
        RequestTimeout: None arrived for `patience_s`.
    """
    loop = asyncio.get_running_loop()
    coming: asyncio.Future[bytes | None] | None = None
    asked = loop.time()
    try:
        while True:
            if coming is None:
                coming = asyncio.ensure_future(anext(pieces, None))
                asked = loop.time()
            # Not cancelled at the timeout: a cancelled generator gives nothing more.
            await asyncio.wait({coming}, timeout=_CHUNK_S_MAX)
            if coming.done():
                piece = coming.result()
                coming = None
                if piece is None:
                    return
                yield piece
            elif loop.time() - asked >= patience_s:
                raise RequestTimeout(f"no bytes came for {patience_s:g} s")
            else:
                yield b""
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
