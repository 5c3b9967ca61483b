"""What an import takes of its tenant's share and of the others' time, whatever is on its lines."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import cast

import pytest

from freehold.contracts.errors import DomainError, Unauthorized, ValidationFailed
from freehold.contracts.imports import ImportResult
from freehold.http.lines import Line
from freehold.tenants.homes import Home
from freehold_ingest import imports
from freehold_ingest.appender import Appender
from freehold_ingest.imports import Import
from freehold_ingest.limits import Limits
from support.homes import new_home
from support.waiting import PATIENCE_S

HOME = new_home()
BAD = b"{}\n"
EMPTY = b" \n"


@pytest.fixture
def limits() -> Limits:
    """Limits by a clock that stands still."""
    return Limits(events_per_s=1_000, requests_max=1, clock=lambda: 0.0)


@pytest.mark.parametrize("line", [BAD, EMPTY])
async def test_lines_that_add_nothing_are_taken_from_the_share_too(
    limits: Limits, line: bytes
) -> None:
    lines_of_two_seconds = 2_000
    result = await run(limits, [line * (lines_of_two_seconds - 1)])
    assert (result.done, result.lines) == (line is BAD, lines_of_two_seconds - 1)
    assert (await run(limits, [line])).lines == 1
    with pytest.raises(DomainError) as refused:
        limits.enter(HOME)
    assert refused.value.slug == "too-many-requests"


@pytest.mark.parametrize("line", [BAD, EMPTY])
async def test_an_import_of_lines_that_add_nothing_ends_with_its_key(
    limits: Limits, line: bytes
) -> None:
    result = await run(limits, [line], Unauthorized("the key has ended"))
    assert (result.done, result.lines) == (False, 0)
    assert result.error is not None
    assert result.error.type == "/problems/unauthorized"


async def test_other_tasks_run_between_lines_that_take_long_to_read(
    limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = 0

    def slowly(line: Line) -> None:
        time.sleep(0.002)
        raise ValidationFailed("bad")

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(imports, "read_event", slowly)
    waiting = asyncio.create_task(others())
    lines = 60
    await run(limits, [BAD * lines])
    waiting.cancel()
    assert turns >= lines


async def run(
    limits: Limits, pieces: list[bytes], refusal: DomainError | None = None
) -> ImportResult:
    async def caller() -> Home:
        if refusal:
            raise refusal
        return HOME

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    one = Import(cast("Appender", None), limits, caller, tenant_id="acme", patience_s=1)
    async with asyncio.timeout(PATIENCE_S):
        await one.run(body())
    return one.result()
