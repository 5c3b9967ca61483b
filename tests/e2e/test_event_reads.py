"""The ledger read back: event by event, as a list, and how far the state is behind it."""

from support.answers import NOT_UNDONE, created, found
from support.clients import Tenant, event_body


async def test_an_event_is_read_as_it_was_answered(tenant: Tenant) -> None:
    body = event_body(
        transaction_time="2026-03-01T12:00:00Z",
        external_id="ch_1",
        metadata={"b": "\u00e9", "a": "\U0001f600"},
    )
    event = created(await tenant.post("/events", body))
    answer = await tenant.get(f"/events/{event['event_id']}")
    assert found(answer) == {**event, **NOT_UNDONE}
    assert list(answer.json()) == [*event, *NOT_UNDONE]
    assert found(await tenant.get(f"/events/{event['event_id'].upper()}")) == answer.json()


async def test_a_list_goes_on_with_what_was_appended_meanwhile(tenant: Tenant) -> None:
    await tenant.append_batch([event_body()] * 3)
    page = found(await tenant.get("/events", limit=2))
    assert [event["seq"] for event in page["data"]] == [1, 2]
    await tenant.append_batch([event_body()] * 2)
    rest = found(await tenant.get("/events", cursor=page["next_cursor"]))
    assert [event["seq"] for event in rest["data"]] == [3, 4, 5]
    assert rest["next_cursor"] is None


async def test_lag_counts_what_is_not_projected(tenant: Tenant) -> None:
    assert found(await tenant.get("/lag")) == {
        "head_seq": 0,
        "projected_seq": 0,
        "events_behind": 0,
        "seconds_behind": 0,
    }
    await tenant.append_batch([event_body()] * 5)
    lag = found(await tenant.get("/lag"))
    assert list(lag) == ["head_seq", "projected_seq", "events_behind", "seconds_behind"]
    assert lag["head_seq"] == 5
    assert lag["events_behind"] == 5 - lag["projected_seq"]
    assert lag["seconds_behind"] >= 0
    assert (await tenant.caught_up()).to_dict() == {
        "head_seq": 5,
        "projected_seq": 5,
        "events_behind": 0,
        "seconds_behind": 0,
    }
