"""Views of live streams: who takes what they have, or is told that they lack it, misses nothing."""

import asyncio
import json
import re
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from freehold.ledger.client import Record
from freehold_query.stream import views
from freehold_query.stream.positions import BEGINNING, WHOLE, Span
from freehold_query.stream.views import View, Views

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DATA = re.compile(rb"^data: (.*)$", re.MULTILINE)
accounts = st.sampled_from(["a", "ab", "abc", "b", "ba"])


def row(account_id: str, seq: int) -> Record:
    document = {
        "account_id": account_id,
        "currency": "USD",
        "current_balance_minor": seq,
        "held_minor": 0,
        "event_count": seq,
        "last_ledger_event_id": UUID(int=seq),
        "last_seq": seq,
        "last_updated_time": NOW,
    }
    return cast("Record", document)


def told(frames: bytes) -> list[tuple[str, int]]:
    documents = [json.loads(data) for data in DATA.findall(frames)]
    return [(document["account_id"], document["last_seq"]) for document in documents]


@given(st.lists(accounts, max_size=30), st.integers(0, 30), st.integers(200, 3_000))
def test_a_view_has_every_balance_that_changed_since_or_says_that_it_lacks_some(
    changed: list[str], since: int, bytes_max: int
) -> None:
    kept, views._BYTES_MAX = views._BYTES_MAX, bytes_max
    try:
        view = View("acme", "", UUID(int=0), as_strings=False)
        for seq, account_id in enumerate(changed, start=1):
            # Between them others look, as clients do.
            view.after(UUID(int=seq // 2))
            view.add(row(account_id, seq), 1)
    finally:
        views._BYTES_MAX = kept
    frames = view.after(UUID(int=since))
    last = {account_id: seq for seq, account_id in enumerate(changed, start=1)}
    expected = sorted((seq, account_id) for account_id, seq in last.items() if seq > since)
    if frames is None:
        assert expected
    else:
        assert told(frames) == [(account_id, seq) for seq, account_id in expected]


def test_a_view_begins_where_its_first_client_came() -> None:
    view = View("acme", "", UUID(int=5), as_strings=False)
    assert view.after(UUID(int=4)) is None
    assert view.after(UUID(int=5)) == b""


def test_a_view_of_another_epoch_starts_over() -> None:
    view = View("acme", "", UUID(int=0), as_strings=False)
    view.add(row("a", 7), 1)
    view.start_over(UUID(int=3))
    assert view.after(UUID(int=2)) is None
    assert view.after(UUID(int=3)) == b""


@given(st.lists(st.sampled_from(["", "a", "ab", "abcd", "b", None]), unique=True), accounts)
def test_an_account_is_in_the_views_of_its_prefixes(
    prefixes: list[str | None], account_id: str
) -> None:
    all_views = Views("acme")
    clients = {prefix: asyncio.Event() for prefix in prefixes}
    entered: dict[Any, View] = {
        prefix: all_views.enter(client, prefix, UUID(int=0), as_strings=False)
        for prefix, client in clients.items()
    }

    def found() -> list[str]:
        return sorted(view.account_prefix or "" for view in all_views.of(row(account_id, 1)))

    showing = sorted(p for p in prefixes if p is not None and account_id.startswith(p))
    assert found() == showing
    for prefix in prefixes[::2]:
        all_views.leave(clients[prefix], entered[prefix])
    assert found() == sorted(
        p for p in prefixes[1::2] if p is not None and account_id.startswith(p)
    )


@given(accounts, st.sampled_from([BEGINNING, ("a", "USD"), ("ab", "EUR")]), accounts | st.none())
def test_a_balance_is_in_the_views_of_the_pages_that_show_it(
    account_id: str, after: tuple[str, str], last: str | None
) -> None:
    all_views = Views("acme")
    pages = {
        span: all_views.enter(asyncio.Event(), "a", UUID(int=0), as_strings=True, span=span)
        for span in (WHOLE, Span(after, None if last is None else (last, "USD")))
    }
    is_within = after < (account_id, "USD") and (last is None or account_id <= last)
    showing = [view for span, view in pages.items() if span == WHOLE or is_within]
    if not account_id.startswith("a"):
        showing = []
    assert list(all_views.of(row(account_id, 1))) == showing
