"""Sending a file's events in requests of some thousands of lines each.

Each request is answered before the next goes out. So the progress shown is what the ledger has, and
a cut connection costs one request's lines sent again. That is always safe, as the ledger knows each
event by its external_id. The client's own import_events does the same for a program; this one says
what it waits for, numbers rejected lines as the file does, and counts all that is in when it fails.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from pydantic import ValidationError

from freehold.contracts.imports import NDJSON, ImportResult, RejectedLine
from freehold.http.lines import Line
from freehold_cli.errors import CliError, ExitCode, UnansweredError
from freehold_cli.imports.tally import Tally
from freehold_cli.service import Service
from freehold_client.pauses import COME_AGAIN, retry_after_s

_PATH = "/v1/events/import"
_LINES_MAX = 20_000
_BYTES_MAX = 4 * 2**20
_TRIES_MAX = 8
_PAUSE_FIRST_S = 0.5
_PAUSE_MOST_S = 15.0


@dataclass(slots=True)
class _Batch:
    """Lines that go together in one request."""

    numbers: list[int] = field(default_factory=list)
    texts: list[bytes] = field(default_factory=list)
    size: int = 0
    unreadable: list[RejectedLine] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        return len(self.numbers) >= _LINES_MAX or self.size >= _BYTES_MAX

    def add(self, entry: Line | RejectedLine) -> None:
        """Take a line in."""
        if isinstance(entry, RejectedLine):
            self.unreadable.append(entry)
            return
        text = entry.text or b""
        self.numbers.append(entry.number)
        self.texts.append(text)
        self.size += len(text)

    def body(self) -> bytes:
        """Join the lines, each with a line feed. Without lines, the body is one empty line."""
        return b"\n".join([*self.texts, b""]) or b"\n"

    def forget(self, lines: int) -> None:
        """Remove the first lines, which have been decided."""
        del self.numbers[:lines]
        del self.texts[:lines]


class _ComeAgainError(Exception):
    """The server may answer a later try."""

    def __init__(self, reason: str, pause_s: float = 0.0) -> None:
        super().__init__(reason)
        self.pause_s = pause_s


class Sender:
    """Sends a file's lines to ingest.

    Args:
        ingest: Ingest, asked with the tenant's key.
        tally: Counts the results.
        write_message: Called with a message before each pause and retry.
    """

    def __init__(self, ingest: Service, tally: Tally, write_message: Callable[[str], None]) -> None:
        self._ingest = ingest
        self._tally = tally
        self._write_message = write_message

    def find_tenant(self, meant: str | None) -> str:
        """Ask which tenant the key belongs to, with an import of an empty line.

        Raises:
            CliError: The key is another tenant's than `meant`; the server refuses it; or the server
                cannot be reached. There is no retry here: at first contact the URL may be wrong.
        """
        try:
            found = self._post(_Batch()).tenant_id
        except _ComeAgainError as error:
            raise CliError(str(error)) from error
        if meant not in {None, found}:
            raise CliError(
                f"The key is one of {found}, not of {meant}. Nothing was sent.", ExitCode.USAGE
            )
        return found

    def send(self, entries: Iterable[Line | RejectedLine]) -> Iterator[None]:
        """Send lines. Yields after each batch.

        Raises:
            CliError: The server refuses, or cannot be reached for too long.
        """
        batch = _Batch()
        for entry in entries:
            batch.add(entry)
            if batch.is_full:
                self._decide(batch)
                yield
                batch = _Batch()
        self._decide(batch)
        yield

    def _decide(self, batch: _Batch) -> None:
        if batch.numbers:
            self._insist(batch)
        self._tally.reject(batch.unreadable, len(batch.unreadable))

    def _insist(self, batch: _Batch) -> ImportResult:
        """Send a batch until all of it has been decided."""
        tries = 0
        while True:
            pause_s = min(_PAUSE_FIRST_S * 2**tries, _PAUSE_MOST_S)
            try:
                result = self._post(batch)
                self._count(batch, result)
                if result.error is None:
                    return result
                reason = result.error.detail
                if result.error.status not in COME_AGAIN:
                    raise CliError(f"{self._ingest.url} ended the import: {reason}")
                # Progress starts the count of tries anew.
                tries = 0 if result.lines else tries
            except _ComeAgainError as error:
                reason = str(error)
                pause_s = max(pause_s, error.pause_s)
            tries += 1
            if tries >= _TRIES_MAX:
                raise CliError(reason)
            self._write_message(f"{reason} Trying again in {pause_s:g} s.")
            time.sleep(pause_s)

    def _post(self, batch: _Batch) -> ImportResult:
        """Send a batch once.

        Raises:
            CliError: The server refuses for good.
            _ComeAgainError: It cannot be reached, or refuses for now.
        """
        headers = {"Content-Type": NDJSON}
        try:
            answer = self._ingest.ask("POST", _PATH, content=batch.body(), headers=headers)
        except UnansweredError as error:
            raise _ComeAgainError(str(error)) from error
        refusal = self._ingest.refusal(answer, advise=False)
        if isinstance(refusal, UnansweredError):
            pause_s = retry_after_s(answer.headers) or 0.0
            raise _ComeAgainError(str(refusal), min(pause_s, _PAUSE_MOST_S))
        if refusal is not None:
            raise refusal
        try:
            return ImportResult.model_validate_json(answer.content.rstrip().rpartition(b"\n")[2])
        except ValidationError:
            raise _ComeAgainError(f"{self._ingest.url} did not finish its answer.") from None

    def _count(self, batch: _Batch, result: ImportResult) -> None:
        self._tally.accepted += result.accepted
        self._tally.duplicates += result.duplicates
        self._tally.conflicts += result.conflicts
        self._tally.reject(
            (
                line.model_copy(update={"line": batch.numbers[line.line - 1]})
                for line in result.rejected
            ),
            result.rejected_count,
        )
        batch.forget(result.lines)
