"""Imports: in portions, each sent until all of its events are decided."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from freehold_client import ImportReport, TooManyRequests, Unauthorized
from freehold_client.imports import LINES_MAX
from support.scripted_client import Script, given, problem

NewClient = Callable[[Script], Any]


def line(number: int) -> bytes:
    return json.dumps({"external_id": f"ch_{number}"}).encode()


def result(
    lines: int, *, rejected: list[int] | None = None, outage: int | None = None
) -> httpx.Response:
    bad = [
        {"line": each, "type": "/problems/validation-failed", "errors": []}
        for each in rejected or ()
    ]
    last: dict[str, Any] = {
        "done": outage is None,
        "tenant_id": "acme",
        "lines": lines,
        "accepted": lines - len(bad),
        "duplicates": 0,
        "conflicts": 0,
        "rejected_count": len(bad),
        "rejected": bad,
    }
    if outage is not None:
        slug = "unavailable" if outage == 503 else "unauthorized"
        last["error"] = json.loads(problem(slug, outage).content)
    return httpx.Response(200, content=b'{"line": 0}\n' + json.dumps(last).encode() + b"\n")


def sent(script: Script) -> list[list[bytes]]:
    return [request.content.splitlines() for request in script.asked]


async def test_events_go_in_portions_and_lines_are_counted_through(new_client: NewClient) -> None:
    script = Script([result(LINES_MAX, rejected=[3]), result(2, rejected=[2])])
    seen: list[int] = []

    report = await given(
        new_client(script).import_events(
            (line(number) for number in range(LINES_MAX + 2)),
            on_progress=lambda report: seen.append(report.lines),
        )
    )

    assert [len(lines) for lines in sent(script)] == [LINES_MAX, 2]
    assert seen == [LINES_MAX, LINES_MAX + 2]
    assert (report.accepted, report.rejected_count) == (LINES_MAX, 2)
    assert [each.line for each in report.rejected] == [3, LINES_MAX + 2]


async def test_only_what_is_undecided_is_sent_again(new_client: NewClient) -> None:
    script = Script(
        [
            httpx.ReadError("cut"),
            result(2, outage=503),
            result(0, outage=503),
            result(1, rejected=[1]),
        ]
    )

    report = await given(new_client(script).import_events([line(1), line(2), line(3)]))

    whole, rest = [line(1), line(2), line(3)], [line(3)]
    assert sent(script) == [whole, whole, rest, rest]
    assert (report.lines, report.accepted) == (3, 2)
    assert [each.line for each in report.rejected] == [3]


async def test_an_outage_that_lasts_ends_it(new_client: NewClient) -> None:
    script = Script([problem("too-many-requests", 429)])

    with pytest.raises(TooManyRequests):
        await given(new_client(script).import_events([line(1)]))

    assert 50 < sum(script.pauses) <= 60


async def test_a_refusal_in_the_middle_is_raised(new_client: NewClient) -> None:
    script = Script([result(1, outage=401)])

    with pytest.raises(Unauthorized):
        await given(new_client(script).import_events([line(1), line(2)]))

    assert len(script.asked) == 1


async def test_documents_lines_and_texts_are_taken(new_client: NewClient) -> None:
    script = Script([result(3)])

    await given(new_client(script).import_events([{"external_id": "é"}, b"{}\r\n", "[]\n"]))

    assert sent(script) == [['{"external_id":"é"}'.encode(), b"{}", b"[]"]]


async def test_no_events_are_no_request(new_client: NewClient) -> None:
    script = Script([result(0)])

    assert await given(new_client(script).import_events([])) == ImportReport()
    assert script.asked == []


async def events() -> AsyncIterator[bytes]:
    yield line(1)


async def test_events_may_come_from_an_asynchronous_source() -> None:
    script = Script([result(1)])

    assert (await script.awaiting().import_events(events())).accepted == 1
