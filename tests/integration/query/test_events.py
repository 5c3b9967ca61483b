"""One event by its id."""

from uuid import uuid4

import httpx
import pytest

from freehold.contracts.events import LedgerEvent
from freehold.security.api_keys import Scope
from integration.query.tenants import Landlord, Tenant, bearer
from support.builders import new_event, undo


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


async def test_another_tenants_event_does_not_exist(
    query: httpx.AsyncClient, tenant: Tenant, other_tenant: Tenant
) -> None:
    (own,) = await tenant.append(new_event())
    (theirs,) = await other_tenant.append(new_event())
    for unknown in (theirs["event_id"], uuid4()):
        answer = await query.get(f"/v1/events/{unknown}")
        assert answer.status_code == 404
        assert answer.json() == {
            "type": "/problems/not-found",
            "title": "There is no such thing",
            "status": 404,
            "detail": "there is no such event",
        }
    assert (await query.get(f"/v1/events/{own['event_id']}")).status_code == 200


@pytest.mark.parametrize(
    "event_id",
    ["1", "not-a-uuid", "%00", "{0}", "urn:uuid:{0}", "{0}%0A", "{1}", "00000000"],
)
async def test_what_is_no_uuid_is_no_event(
    query: httpx.AsyncClient, tenant: Tenant, event_id: str
) -> None:
    (row,) = await tenant.append(new_event())
    spelt = event_id.format(f"{{{row['event_id']}}}", row["event_id"].hex)
    answer = await query.get(f"/v1/events/{spelt}")
    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/not-found"


async def test_auditors_may_read_events_but_not_balances(
    query: httpx.AsyncClient, tenant: Tenant, landlord: Landlord
) -> None:
    (row,) = await tenant.append(new_event())
    headers = bearer(await landlord.key(tenant, Scope.AUDIT))
    for path in ("/v1/events", f"/v1/events/{row['event_id']}"):
        assert (await query.get(path, headers=headers)).status_code == 200
    for path in ("/v1/balances", "/v1/lag", "/v1/accounts/cus_1/balances"):
        assert (await query.get(path, headers=headers)).status_code == 403
