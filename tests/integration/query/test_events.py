"""One event by its id."""

import httpx
import pytest

from freehold.contracts.events import LedgerEvent
from freehold.security.api_keys import Scope
from integration.query.tenants import Landlord, Tenant, bearer
from support.builders import new_event, new_hold, undo
from support.clients import problem

UNKNOWN = "019ca9a8-5a00-7000-8000-0007c0a8d5e1"


async def test_an_event_is_found_before_it_is_projected(
    query: httpx.AsyncClient, tenant: Tenant
) -> None:
    (row,) = await tenant.append(
        new_event("cus_42", 2000, external_id="ch_1", metadata={"plan": "pro"})
    )
    answer = await query.get(f"/v1/events/{row['event_id']}")
    event = LedgerEvent.model_validate_json(answer.content, strict=True)
    assert event.model_dump() == {
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
