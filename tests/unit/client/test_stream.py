"""The stream of balances: read from any pieces, and resumed where it was cut."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given as having
from hypothesis import strategies as st

from freehold_client import BalanceChange, LedgerRestarted, NoAnswerError, TenantSuspended
from freehold_client.stream import EventReader, ServerEvent
from support.scripted_client import BALANCE, Pieces, Script, listed, problem

NewClient = Callable[[Script], Any]


def frame(seq: int) -> bytes:
    data = json.dumps({**BALANCE, "last_seq": seq}).encode()
    return b"event: balance\nid: at-%d\ndata: %b\n\n" % (seq, data)


def stream(*pieces: bytes, cut: bool = False) -> httpx.Response:
    return httpx.Response(200, stream=Pieces(*pieces, cut=cut))


async def test_a_cut_stream_goes_on_after_its_last_event(new_client: NewClient) -> None:
    script = Script(
        [
            stream(b"retry: 2000\n\n", frame(1), frame(2)[:-9], cut=True),
            httpx.ConnectError("refused"),
            problem("overloaded", 503),
            stream(frame(2)),
            stream(b":\nid: at-9\n\n"),
            stream(frame(10)),
        ]
    )

    changes = await listed(new_client(script).stream_balances(snapshot=True), at_most=3)

    assert [change.balance.last_seq for change in changes] == [1, 2, 10]
    assert [change.event_id for change in changes] == ["at-1", "at-2", "at-10"]
    resumed = [request.headers.get("last-event-id") for request in script.asked]
    assert resumed == [None, "at-1", "at-1", "at-1", "at-2", "at-9"]
    assert {request.url.params["snapshot"] for request in script.asked} == {"true"}
    assert all(0 < pause <= 3 for pause in script.pauses)


async def test_a_stream_resumes_where_the_caller_says(new_client: NewClient) -> None:
    script = Script([stream(frame(4))])

    await listed(new_client(script).stream_balances(last_event_id="at-3"), at_most=1)

    assert script.asked[0].headers["last-event-id"] == "at-3"


async def test_a_restore_is_told(new_client: NewClient) -> None:
    script = Script([stream(b'event: restart\ndata: {"epoch": 2}\n\n', frame(1))])

    restarted, change = await listed(new_client(script).stream_balances(), at_most=2)

    assert restarted == LedgerRestarted(2)
    assert isinstance(change, BalanceChange)


async def test_a_stream_says_why_it_ends(new_client: NewClient) -> None:
    document = problem("tenant-suspended", 403).content
    script = Script([stream(frame(1), b"event: problem\ndata: %b\n\n" % document)])

    with pytest.raises(TenantSuspended):
        await listed(new_client(script).stream_balances())


async def test_a_service_that_stays_away_ends_the_stream(new_client: NewClient) -> None:
    script = Script([stream(frame(1), cut=True), httpx.ConnectError("refused")])

    with pytest.raises(NoAnswerError):
        await listed(new_client(script).stream_balances())

    assert sum(script.pauses) <= 63


@having(
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.lists(st.integers(min_value=1, max_value=80), max_size=30),
)
def test_events_are_read_from_any_pieces(end: bytes, sizes: list[int]) -> None:
    text = (
        b": a comment\nevent: balance\nid: 1\ndata: {\ndata: }\n\nid: 2\n\n"
        b"data:no space\nunknown: field\n\n: late\nid: 3\ndata\n\ndata: never ended\n"
    ).replace(b"\n", end)
    reader = EventReader("0")
    found: list[ServerEvent] = []
    for size in [*sizes, len(text)]:
        found += reader.feed(text[:size])
        text = text[size:]

    assert found == [
        ServerEvent("balance", b"{\n}", "1"),
        ServerEvent("message", b"no space", "2"),
        ServerEvent("message", b"", "3"),
    ]
