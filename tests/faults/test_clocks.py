"""A database whose clock leaps: nothing is written with it, and no other tenant is affected."""

from datetime import timedelta

import pytest

from freehold.ledger.client import Connection
from support.answers import created, found, problem
from support.builders import set_clock
from support.clients import Tenant, event_body
from support.funds import from_now, hold, hold_body, leg
from support.machine import Machine
from support.upstream import upstream_of
from support.waiting import eventually


async def events_in(connection: Connection) -> int:
    return int(await connection.fetchval("SELECT count(*) FROM ledger_events"))


@pytest.mark.parametrize("leap", [timedelta(hours=1), -timedelta(hours=1)], ids=["ahead", "behind"])
async def test_while_a_databases_clock_is_wrong_nothing_is_written_into_it(
    machine: Machine, tenant: Tenant, other_tenant: Tenant, leap: timedelta
) -> None:
    event = await tenant.append(metadata={"key": "before"})
    await hold(tenant, expires_at=from_now(minutes=30))
    refused = await machine.metric("ingest", "freehold_clocks_disagreed_total")
    requests = {
        "/events": event_body(metadata={"key": "k0"}),
        "/events/batch": {"events": [event_body(metadata={"key": "k1"})]},
        "/transactions": {"legs": [leg("a", -1), leg("b", 1)]},
        "/holds": hold_body(),
        f"/events/{event.event_id}/reversal": {},
    }
    async with machine.ledger(tenant) as ledger:
        await set_clock(ledger, leap)
        for path, body in requests.items():
            answer = await tenant.post(path, body, key=path)
            assert "3600" in problem(answer, "clocks-disagree")["detail"]
            assert int(answer.headers["Retry-After"]) > 0
        for path, rule in (
            ("/event-types/CHARGE", {"sign": "any"}),
            ("/event-types", {"closed": True}),
            ("/accounts/a/limits", {"currency": "USD", "min_balance_minor": 0}),
        ):
            problem(await tenant.ask_ingest("PUT", path, rule), "clocks-disagree")
        async with upstream_of(machine.amqp_url) as upstream:
            message = event_body(metadata={"key": "m"})
            await upstream.publish(tenant.api_key, message, message_id="m")

        async def was_refused_too() -> bool:
            count = await machine.metric("ingest", "freehold_clocks_disagreed_total")
            return count >= refused + len(requests) + 4

        await eventually(was_refused_too, "the message is refused for now")
        # It is still read, and other tenants' clocks are right.
        assert found(await tenant.get("/lag"))["head_seq"] == 2
        acknowledged = [await other_tenant.append(metadata={"key": "other"})]
        assert await events_in(ledger) == 2

        await set_clock(ledger, timedelta())
        for path, body in requests.items():
            created(await tenant.post(path, body, key=path))

        async def has_all() -> bool:
            return await events_in(ledger) == 9

        await eventually(has_all, "the message comes, too")
    await machine.assert_whole(tenant, [event])
    await machine.assert_whole(other_tenant, acknowledged)
