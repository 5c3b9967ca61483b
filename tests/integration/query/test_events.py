"""One event by its id."""

import httpx
import pytest

from freehold.contracts.events import LedgerEvent
from freehold.security.api_keys import Scope
from freehold_query.contracts import REFUNDS_SHOWN_MAX, EventWithUndoing
from integration.query.tenants import Landlord, Tenant, bearer
from integration.query.test_lists import everything
from support.answers import NOT_UNDONE, problem
from support.builders import new_event, new_hold, undo

UNKNOWN = "019ca9a8-5a00-7000-8000-0007c0a8d5e1"


async def test_an_event_is_found_before_it_is_projected(
    query: httpx.AsyncClient, tenant: Tenant
) -> None:
    (row,) = await tenant.append(
        new_event("cus_42", 2000, external_id="ch_1", metadata={"plan": "pro"})
    )
    answer = await query.get(f"/v1/events/{row['event_id']}")
    event = EventWithUndoing.model_validate_json(answer.content, strict=True)
    assert event.model_dump() == {
        **NOT_UNDONE,
        **{
            name: row[name] for name in LedgerEvent.model_fields if name not in {"hash", "metadata"}
        },
        "hash": row["hash"].hex(),
        "metadata": {"plan": "pro"},
    }
    assert (await query.get(f"/v1/events/{str(row['event_id']).upper()}")).status_code == 200


async def test_a_reversal_names_what_it_undoes(query: httpx.AsyncClient, tenant: Tenant) -> None:
    (charge,) = await tenant.append(new_event("cus_42", 2000))
    (reversal,) = await tenant.append(undo(charge["event_id"], "charged twice"))
    answer = (await query.get(f"/v1/events/{reversal['event_id']}")).json()
    assert answer["reverses_event_id"] == str(charge["event_id"])
    assert (answer["event_type"], answer["amount_minor"]) == ("REVERSAL", -2000)
    assert answer["metadata"] == {"reason": "charged twice"}


async def test_an_events_page_shows_what_undoes_it(
    query: httpx.AsyncClient, tenant: Tenant
) -> None:
    (charge,) = await tenant.append(new_event("cus_42", 2000))
    refund = new_event("cus_42", -5, event_type="REFUND", refunds=charge["event_id"])
    number = REFUNDS_SHOWN_MAX + 1
    refunds = await tenant.append(*[refund] * number)
    (reversal,) = await tenant.append(undo(refunds[0]["event_id"]))
    answer = (await query.get(f"/v1/events/{charge['event_id']}")).json()
    assert (answer["reversed_by_event_id"], answer["refunded_minor"]) == (None, 5 * (number - 1))
    assert answer["refunds"] == [
        {
            "event_id": str(row["event_id"]),
            "amount_minor": -5,
            "reversed_by_event_id": str(reversal["event_id"]) if row is refunds[0] else None,
        }
        for row in refunds[:REFUNDS_SHOWN_MAX]
    ]
    # A page of many shows only what each event says itself.
    listed = await everything(query, "/v1/events", refunds_event_id=str(charge["event_id"]))
    assert [event["event_id"] for event in listed] == [str(row["event_id"]) for row in refunds]
    assert {event["refunds_event_id"] for event in listed} == {str(charge["event_id"])}
    assert "refunded_minor" not in listed[0]


@pytest.mark.parametrize(
    "event_id",
    ["1", "not-a-uuid", "%00", "{0}", "urn:uuid:{0}", "{0}%0A", "{1}", "00000000", UNKNOWN],
)
async def test_an_unknown_event_is_not_found(
    still_query: httpx.AsyncClient, still_tenant: Tenant, event_id: str
) -> None:
    (row,) = await still_tenant.append(new_event())
    spelt = event_id.format(f"{{{row['event_id']}}}", row["event_id"].hex)
    answer = await still_query.get(f"/v1/events/{spelt}")
    problem(answer, "not-found")


async def test_auditors_may_read_events_and_transactions_alone(
    query: httpx.AsyncClient, tenant: Tenant, landlord: Landlord
) -> None:
    leg, _ = await tenant.append(new_event("a", 1), new_event("b", -1), transaction=True)
    (hold,) = await tenant.append(new_hold())
    headers = bearer(await landlord.key(tenant, Scope.AUDIT))
    for path in ("events", f"events/{leg['event_id']}", f"transactions/{leg['event_id']}"):
        assert (await query.get(f"/v1/{path}", headers=headers)).status_code == 200
    for path in ("balances", "lag", "accounts/cus_1/balances", f"holds/{hold['event_id']}"):
        assert (await query.get(f"/v1/{path}", headers=headers)).status_code == 403
