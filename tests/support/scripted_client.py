"""Clients of Freehold whose answers are scripted, for what no sound service does on demand."""

import inspect
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from freehold_client import AsyncFreehold, Freehold
from freehold_client.transports import AsyncTransport, BlockingTransport

API_KEY = "fh_scripted_secret-of-the-tenant"
OPERATOR_TOKEN = "secret-of-the-operator"

Answer = httpx.Response | Exception

BALANCE: dict[str, Any] = {
    "account_id": "cus_42",
    "currency": "USD",
    "exponent": 2,
    "current_balance_minor": 2000,
    "event_count": 1,
    "last_ledger_event_id": "019ca9a8-5a00-7000-8000-0007c0a8d5e1",
    "last_seq": 7,
    "last_updated_time": "2026-03-01T12:00:00.250000Z",
}


@dataclass(slots=True)
class Script:
    """Answers each request with the next of its answers, and with the last one for ever."""

    answers: list[Answer]
    asked: list[httpx.Request] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    """What the client would have waited; it does not really wait."""

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        # A copy: an answer can be read once only.
        return httpx.Response(answer.status_code, headers=answer.headers, stream=answer.stream)

    def time(self) -> float:
        """The time, which only passes in pauses."""
        return sum(self.pauses)

    def blocking(self) -> Freehold:
        """Make a client that blocks."""
        client = Freehold(
            api_key=API_KEY,
            operator_token=OPERATOR_TOKEN,
            open_transport=lambda _: BlockingTransport(
                httpx.Client(transport=httpx.MockTransport(self.answer)), self.pauses.append
            ),
        )
        client.core.clock = self.time
        return client

    def awaiting(self) -> AsyncFreehold:
        """Make a client that is awaited."""

        async def pause(seconds: float) -> None:
            self.pauses.append(seconds)

        client = AsyncFreehold(
            api_key=API_KEY,
            operator_token=OPERATOR_TOKEN,
            open_transport=lambda _: AsyncTransport(
                httpx.AsyncClient(transport=httpx.MockTransport(self.answer)), pause
            ),
        )
        client.core.clock = self.time
        return client


def document(body: object, status: int = 200, **headers: str) -> httpx.Response:
    """An answer with a JSON document."""
    return httpx.Response(
        status, json=body, headers={name.replace("_", "-"): each for name, each in headers.items()}
    )


def problem(
    slug: str, status: int, headers: dict[str, str] | None = None, **more: Any
) -> httpx.Response:
    """A problem document."""
    body = {"type": f"/problems/{slug}", "title": "-", "status": status, "detail": "-", **more}
    return httpx.Response(status, json=body, headers=headers)


class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that comes in pieces, and may be cut."""

    def __init__(self, *pieces: bytes, cut: bool = False) -> None:
        self._pieces = pieces
        self._cut = cut

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        if self._cut:
            raise httpx.ReadError("cut")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


async def given(work: Any) -> Any:
    """What a method of either client gives."""
    return await work if inspect.isawaitable(work) else work


async def listed(series: Any, at_most: int | None = None) -> list[Any]:
    """What a method of either client gives one after the other."""
    found: list[Any] = []
    if at_most == 0:
        return found
    if hasattr(series, "__aiter__"):
        async for each in series:
            found.append(each)
            if len(found) == at_most:
                await series.aclose()
                break
    else:
        for each in series:
            found.append(each)
            if len(found) == at_most:
                series.close()
                break
    return found
