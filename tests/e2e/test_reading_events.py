"""The ledger read back: event by event, as a list, and how far the state is behind it."""

import pytest

from support.clients import Document, Freehold, Tenant, event_body, found, pointers, problem


async def test_an_event_is_read_as_it_was_answered(tenant: Tenant) -> None:
    event = await tenant.append(
        transaction_time="2026-03-01T12:00:00Z",
        external_id="ch_1",
        metadata={"b": "\u00e9", "a": "\U0001f600"},
    )
    answer = await tenant.get(f"/events/{event['event_id']}")
    assert found(answer) == event
    assert list(answer.json()) == list(event)
    assert found(await tenant.get(f"/events/{event['event_id'].upper()}")) == event


@pytest.mark.parametrize(
    "event_id",
    [
        "0b9c2f6a-4d1e-4c3b-9a7d-5e8f1a2b3c4d",
        "0",
        "not-an-id",
        "%00",
        "0b9c2f6a4d1e4c3b9a7d5e8f1a2b3c4d",
    ],
)
async def test_an_event_that_is_not_there_is_not_found(reading: Tenant, event_id: str) -> None:
    problem(await reading.get(f"/events/{event_id}"), "not-found")


@pytest.mark.parametrize("limit", [1, 3, 7, 1000])
async def test_events_are_listed_in_ledger_order_page_by_page(reading: Tenant, limit: int) -> None:
    events = await reading.all_of("/events", limit=limit)
    assert [event["seq"] for event in events] == list(range(1, 8))
    assert [event["account_id"] for event in events] == ["a", "b", "a", "c", "b", "a", "a"]


async def test_events_of_one_account_are_listed_alone(reading: Tenant) -> None:
    for limit in (1, 2, 1000):
        events = await reading.all_of("/events", limit=limit, account_id="a")
        assert [event["seq"] for event in events] == [1, 3, 6, 7]
    assert await reading.all_of("/events", account_id="nobody") == []


async def test_a_list_goes_on_with_what_was_appended_meanwhile(tenant: Tenant) -> None:
    await tenant.append_batch([event_body()] * 3)
    page = found(await tenant.get("/events", limit=2))
    assert [event["seq"] for event in page["data"]] == [1, 2]
    await tenant.append_batch([event_body()] * 2)
    rest = found(await tenant.get("/events", cursor=page["next_cursor"]))
    assert [event["seq"] for event in rest["data"]] == [3, 4, 5]
    assert rest["next_cursor"] is None


async def test_a_hundred_events_are_listed_where_no_limit_is_given(tenant: Tenant) -> None:
    await tenant.append_batch([event_body()] * 101)
    assert len(found(await tenant.get("/events"))["data"]) == 100


@pytest.mark.parametrize(
    ("path", "query", "pointer"),
    [
        ("/events", {"limit": "0"}, "/limit"),
        ("/events", {"limit": "1001"}, "/limit"),
        ("/events", {"limit": "-1"}, "/limit"),
        ("/events", {"account_id": ""}, "/account_id"),
        ("/events", {"account_id": "a b"}, "/account_id"),
        ("/events", {"cursor": "nonsense"}, "/cursor"),
        ("/events", {"colour": "red"}, "/colour"),
        ("/lag", {"colour": "red"}, "/colour"),
    ],
)
async def test_a_question_that_breaks_a_rule_is_refused(
    reading: Tenant, path: str, query: Document, pointer: str
) -> None:
    assert pointers(await reading.get(path, **query)) == [pointer]


async def test_lag_counts_what_is_not_projected(tenant: Tenant) -> None:
    assert await tenant.lag() == {
        "head_seq": 0,
        "projected_seq": 0,
        "events_behind": 0,
        "seconds_behind": 0,
    }
    await tenant.append_batch([event_body()] * 5)
    lag = await tenant.lag()
    assert list(lag) == ["head_seq", "projected_seq", "events_behind", "seconds_behind"]
    assert lag["head_seq"] == 5
    assert lag["events_behind"] == 5 - lag["projected_seq"]
    assert lag["seconds_behind"] >= 0
    assert await tenant.caught_up() == {
        "head_seq": 5,
        "projected_seq": 5,
        "events_behind": 0,
        "seconds_behind": 0,
    }


@pytest.fixture(scope="module")
async def reading(freehold: Freehold) -> Tenant:
    """A few events that are only read."""
    tenant = await freehold.new_tenant()
    await tenant.append_batch([event_body(account_id=account_id) for account_id in "abacbaa"])
    return tenant
