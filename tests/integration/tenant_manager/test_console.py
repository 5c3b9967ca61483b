"""The operators' console as HTTP has it, without a browser: pages, acts, roles, refusals."""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from freehold.ledger.schema import LEDGER_VERSION
from freehold.tenants.catalog import Catalog
from integration.tenant_manager.consoles import SAME_ORIGIN, signed_in, visiting
from integration.tenant_manager.installation import (
    OPERATOR_TOKEN,
    components_of,
    make_tenant,
    new_tenant_id,
)
from integration.tenant_manager.restorable import RestorableTenant
from support.operations import operation_ended
from support.operators import acts, make_operator

_KEY = re.compile(r"fh_[0-9a-f]{16}_[0-9a-f]{64}")
_FORM = re.compile(r'<form method="post" action="([^"]+)"')


@pytest.fixture
async def owner(app: FastAPI, manager: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    async with signed_in(app, manager, "owner") as console:
        yield console


@pytest.fixture
async def operator(app: FastAPI, manager: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    async with signed_in(app, manager, "operator") as console:
        yield console


@pytest.fixture
async def viewer(app: FastAPI, manager: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    async with signed_in(app, manager, "viewer") as console:
        yield console


def home(tenant_id: str) -> str:
    return f"/console/tenants/{tenant_id}"


async def page(console: httpx.AsyncClient, path: str, status: int = 200) -> str:
    answer = await console.get(path)
    assert answer.status_code == status, answer.text
    return answer.text


async def act(console: httpx.AsyncClient, path: str, **fields: Any) -> httpx.Response:
    return await console.post(path, data=fields, headers=SAME_ORIGIN)


async def ended(manager: httpx.AsyncClient, done: httpx.Response) -> dict[str, Any]:
    """Wait for the operation whose page an act leads to."""
    assert done.status_code == 303, done.text
    return await operation_ended(manager, done.headers["location"].rpartition("/")[2])


def pages_of(tenant_id: str, operation_id: str) -> list[str]:
    return [
        "/console/tenants",
        "/console/tenants/health",
        *(home(tenant_id) + tab for tab in ("", "/keys", "/backups", "/restore", "/credentials")),
        "/console/operations",
        f"/console/operations/{operation_id}",
        "/console/migrations",
        "/console/doorbells",
    ]


async def test_a_token_opens_the_console_while_it_works(
    app: FastAPI, manager: httpx.AsyncClient
) -> None:
    made = await make_operator(manager, "viewer")
    async with visiting(app) as visitor:
        sent_away = await visitor.get("/console/operations?status=failed")
        where = "/console/operations%3Fstatus%3Dfailed"
        assert sent_away.headers["location"] == f"/console/sign-in?next={where}"
        for token in ("", "fo_1_2", made["token"][:-1] + "x"):
            refused = await act(visitor, "/console/sign-in", token=token)
            assert refused.status_code == 401
            assert not visitor.cookies
        entered = await act(visitor, "/console/sign-in", token=made["token"], next="//evil.example")
        assert (entered.status_code, entered.headers["location"]) == (303, "/console")
        cookie = entered.headers["set-cookie"].lower()
        assert {"httponly", "samesite=strict", "path=/console"} <= set(cookie.split("; "))
        assert made["token"] not in entered.headers["set-cookie"]
        assert made["name"] in await page(visitor, "/console/tenants")
        assert (await visitor.get("/v1/tenants")).status_code == 401
        await manager.delete(f"/v1/operators/{made['name']}?confirm={made['name']}")
        assert (await visitor.get("/console/tenants")).status_code == 303
    (begun, done) = await acts(manager, act="sign_in", operator=made["name"])
    assert (begun["phase"], done["phase"]) == ("begun", "ended")
    async with visiting(app) as visitor:
        await act(visitor, "/console/sign-in", token=OPERATOR_TOKEN)
        assert "root, owner" in await page(visitor, "/console/tenants")
        assert (await act(visitor, "/console/sign-out")).status_code == 303
        assert (await visitor.get("/console/tenants")).status_code == 303


async def test_a_viewer_sees_every_page_and_no_button(
    viewer: httpx.AsyncClient, owner: httpx.AsyncClient, tenant: RestorableTenant
) -> None:
    await tenant.grow_and_archive(1)
    backup_id = await tenant.back_up()
    shown = pages_of(tenant.tenant_id, backup_id)
    for path in shown:
        assert set(_FORM.findall(await page(viewer, path))) <= {"/console/sign-out"}
    offered = {form for path in shown for form in _FORM.findall(await page(owner, path))}
    assert {
        f"{home(tenant.tenant_id)}/{what}" for what in ("suspend", "delete", "limits")
    } < offered


async def test_a_role_that_does_not_suffice_is_refused_whatever_is_sent(
    viewer: httpx.AsyncClient, operator: httpx.AsyncClient, manager: httpx.AsyncClient
) -> None:
    tenant_id = await make_tenant(manager)
    for console, path in (
        (viewer, "suspend"),
        (viewer, "keys"),
        (viewer, "credentials"),
        (viewer, "export"),
        (operator, "delete"),
    ):
        refused = await act(console, f"{home(tenant_id)}/{path}", confirm=tenant_id, read="yes")
        assert refused.status_code == 403
        assert "this takes the role" in refused.text
    assert (await manager.get(f"/v1/tenants/{tenant_id}")).json()["status"] == "active"
    recorded = await acts(manager, tenant_id=tenant_id)
    assert {entry["act"] for entry in recorded} >= {"suspend_tenant", "delete_tenant"}


async def test_a_page_of_another_origin_cannot_act(
    owner: httpx.AsyncClient, manager: httpx.AsyncClient
) -> None:
    tenant_id = await make_tenant(manager)
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {}):
        refused = await owner.post(
            f"{home(tenant_id)}/suspend", data={"confirm": tenant_id}, headers=headers
        )
        assert refused.status_code == 403
    assert (await manager.get(f"/v1/tenants/{tenant_id}")).json()["status"] == "active"


async def test_a_tenants_life(owner: httpx.AsyncClient, manager: httpx.AsyncClient) -> None:
    tenant_id = new_tenant_id()
    made = await act(owner, "/console/tenants", tenant_id=tenant_id, name="Blue <b>Bikes</b>")
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    assert _KEY.search(made.text)
    assert "Blue &lt;b&gt;Bikes" in made.text
    again = await act(owner, "/console/tenants", tenant_id=tenant_id, name="Blue <b>Bikes</b>")
    assert "existed already" in again.text
    assert not _KEY.search(again.text)

    async def status() -> str:
        return str((await manager.get(f"/v1/tenants/{tenant_id}")).json()["status"])

    for what in ("suspend", "delete"):
        unnamed = await act(owner, f"{home(tenant_id)}/{what}", confirm=tenant_id[:-1])
        assert unnamed.status_code == 422
        assert f"type {tenant_id} to confirm: nothing was done" in unnamed.text
    assert await status() == "active"
    limits = {"events_per_s": 50, "requests_max": ""}
    done = await act(owner, f"{home(tenant_id)}/limits", **limits)
    assert "The limits are set." in await page(owner, done.headers["location"])
    assert (await act(owner, f"{home(tenant_id)}/limits", events_per_s="x")).status_code == 422
    shown = (await manager.get(f"/v1/tenants/{tenant_id}")).json()
    assert shown["limits"] == {"events_per_s": 50, "requests_max": None}
    await act(owner, f"{home(tenant_id)}/suspend", confirm=tenant_id)
    assert await status() == "suspended"
    await act(owner, f"{home(tenant_id)}/resume")
    assert await status() == "active"
    verified = await ended(manager, await act(owner, f"{home(tenant_id)}/verify"))
    assert verified["result"]["ok"]
    deleted = await ended(manager, await act(owner, f"{home(tenant_id)}/delete", confirm=tenant_id))
    assert deleted["status"] == "succeeded"
    assert await status() == "deleted"
    assert "deleted" in await page(owner, home(tenant_id))
    recorded = await acts(manager, tenant_id=tenant_id)
    done_acts = {entry["act"] for entry in recorded if entry["phase"] == "ended"}
    assert done_acts >= {"suspend_tenant", "resume_tenant", "set_tenant_limits", "delete_tenant"}
    assert not any(_KEY.search(str(entry)) for entry in recorded)


async def test_api_keys_are_shown_once(
    operator: httpx.AsyncClient, manager: httpx.AsyncClient
) -> None:
    tenant_id = await make_tenant(manager)
    keys = f"{home(tenant_id)}/keys"
    assert (await act(operator, keys)).status_code == 422
    fields = {"read": "yes", "audit": "yes", "label": "till", "expires_at": "2126-03-01T12:00"}
    made = await act(operator, keys, **fields)
    assert made.status_code == 201
    (text,) = _KEY.findall(made.text)
    key_id = text.split("_")[1]
    listed = await page(operator, keys)
    assert text not in listed
    assert {"till", "2126-03-01 12:00:00 UTC", "read, audit"} <= set(
        re.findall(r">([^<]+)<", listed)
    )
    await act(operator, f"{keys}/{key_id}/label", label="new till")
    assert "new till" in await page(operator, keys)
    replaced = await act(operator, f"{keys}/{key_id}/rotate", overlap_s=60)
    assert _KEY.search(replaced.text)
    assert (await act(operator, f"{keys}/{key_id}/revoke", confirm="no")).status_code == 422
    await act(operator, f"{keys}/{key_id}/revoke", confirm=key_id)
    entries = (await manager.get(f"/v1/tenants/{tenant_id}/api-keys")).json()["data"]
    assert [entry["revoked_at"] is None for entry in entries] == [True, False, True]


async def test_the_connection_string_is_shown_on_request_and_recorded(
    operator: httpx.AsyncClient, manager: httpx.AsyncClient
) -> None:
    tenant_id = await make_tenant(manager)
    path = f"{home(tenant_id)}/credentials"
    assert "postgresql://" not in await page(operator, path)
    shown = await act(operator, path)
    assert shown.headers["cache-control"] == "no-store"
    password = (await manager.get(f"/v1/tenants/{tenant_id}/credentials")).json()["password"]
    assert password in shown.text
    await act(operator, f"{path}/rotate", service="auditor", confirm=tenant_id)
    assert password not in (await act(operator, path)).text
    export = await act(operator, f"{home(tenant_id)}/export", format="sql")
    assert export.headers["content-disposition"].startswith(f'attachment; filename="{tenant_id}-')
    assert b"PostgreSQL database dump complete" in export.content
    recorded = await acts(manager, tenant_id=tenant_id)
    assert {"get_credentials", "rotate_credentials", "export_ledger"} <= {
        entry["act"] for entry in recorded
    }
    assert password not in str(recorded)


async def test_a_restore_is_previewed_then_done(
    owner: httpx.AsyncClient, manager: httpx.AsyncClient, tenant: RestorableTenant
) -> None:
    await tenant.grow_and_archive(1, 2)
    backup_id = await tenant.back_up()
    instant = await tenant.grow_and_archive(3)
    await tenant.grow_and_archive(4, 5)
    restore = f"{home(tenant.tenant_id)}/restore"
    preview = await page(owner, f"{restore}?to={instant.strftime('%Y-%m-%dT%H:%M:%S.%f')}")
    assert "event 3, recorded" in preview
    assert "2 events" in preview
    assert "4 to 5 of the present ledger" in preview
    assert "with 2 events" in preview
    assert "3 events" in await page(owner, f"{restore}?backup_id={backup_id}")
    assert "no event" in await page(owner, f"{restore}?to_seq=5")
    assert "5 is the ledger&#39;s last event" in await page(owner, f"{restore}?to_seq=6", 404)
    await page(owner, f"{restore}?to_seq=3&backup_id={backup_id}", 422)
    await page(owner, f"{restore}?to=2999-01-01T00:00", 422)
    unnamed = await act(owner, restore, to_seq=3, preview="no", confirm="")
    assert unnamed.status_code == 422
    await ended(manager, await act(owner, restore, to_seq=4, preview="yes"))
    assert "preview" in await page(owner, f"{home(tenant.tenant_id)}/backups")
    done = await act(owner, restore, to_seq=3, preview="no", confirm=tenant.tenant_id)
    assert (await ended(manager, done))["result"]["events_left_out"]["count"] == 2
    assert await tenant.amounts() == [1, 2, 3]
    # An instant of the earlier history: of its events, the first three are of both.
    await tenant.grow_and_archive(6)
    past = await page(owner, f"{restore}?to={instant.strftime('%Y-%m-%dT%H:%M:%S.%f')}")
    assert "an earlier one than the present 2" in past
    assert "1 event</span> 4 to 4" in past
    former = [each["name"] for each in await tenant.retired() if each["kind"] == "former"]
    drop = f"{home(tenant.tenant_id)}/former-databases/{former[0]}/drop"
    assert (await act(owner, drop, confirm="x")).status_code == 422
    assert (await act(owner, drop, confirm=former[0])).status_code == 303
    assert former[0] not in [each["name"] for each in await tenant.retired()]


async def test_backups_and_migrations_are_asked_for(
    operator: httpx.AsyncClient, manager: httpx.AsyncClient
) -> None:
    tenant_id = await make_tenant(manager)
    made = await ended(manager, await act(operator, f"{home(tenant_id)}/backups"))
    listed = await page(operator, f"{home(tenant_id)}/backups")
    verify = f"{home(tenant_id)}/backups/{made['operation_id']}/verify"
    assert verify in listed
    assert (await ended(manager, await act(operator, verify)))["status"] == "succeeded"
    migrated = await act(operator, "/console/migrations", phase="before", tenants=tenant_id)
    assert (await ended(manager, migrated))["result"]["tenants"] == 1
    stranger = await act(operator, "/console/migrations", phase="before", tenants="nobody-known")
    assert stranger.status_code == 422
    assert "Last migration" in await page(operator, "/console/migrations")
    # This installation has no broker.
    assert "FREEHOLD_AMQP_URL" in await page(operator, "/console/doorbells")
    assert (await act(operator, "/console/doorbells/redrive")).status_code == 503


async def test_a_part_that_has_not_changed_is_not_sent_again(
    owner: httpx.AsyncClient, manager: httpx.AsyncClient
) -> None:
    tenant_id = await make_tenant(manager)
    path = f"{home(tenant_id)}/operations"
    part = await page(owner, path)
    (again,) = re.findall(r'hx-get="([^"]+)"', part)
    assert (await owner.get(again)).status_code == 204
    await ended(manager, await act(owner, f"{home(tenant_id)}/backups"))
    assert "backup" in await page(owner, again)


async def test_a_thousand_tenants_are_sorted_filtered_and_bounded(
    app: FastAPI, owner: httpx.AsyncClient, thousand: list[str]
) -> None:
    sort = "/console/tenants?name=crowd&order="
    found = re.findall(r'id="t-([^"]+)"', await page(owner, f"{sort}-events"))
    assert found == thousand[::-1]
    assert re.findall(r'id="t-([^"]+)"', await page(owner, f"{sort}events"))[:3] == thousand[:3]
    by_state = await page(owner, f"{sort}-state")
    assert (
        'aria-sort="descending"><a href="/console/tenants?name=crowd&amp;order=state"' in by_state
    )
    assert re.findall(r'id="t-([^"]+)"', by_state)[0] == thousand[7]
    assert "99 s behind" in by_state
    assert len(by_state.encode()) < 600_000
    one = await page(owner, "/console/tenants?name=CROWD+NUMBER+12+&status=suspended")
    assert "No tenant is like this" in one
    assert (await owner.get(f"{sort}nonsense")).status_code == 422


@pytest.fixture
async def thousand(app: FastAPI) -> AsyncIterator[list[str]]:
    """A thousand tenants of the catalog alone, with rising figures; the eighth is behind."""
    async with components_of(app).find(Catalog).connection() as catalog:
        rows = await catalog.fetch(_THOUSAND, LEDGER_VERSION)
        try:
            yield sorted((row["tenant_id"] for row in rows), key=lambda name: int(name[6:]))
        finally:
            await catalog.execute("DELETE FROM tenants WHERE tenant_id LIKE 'crowd-%'")


_THOUSAND = """
WITH made AS (
    INSERT INTO tenants (
        tenant_id, name, region, isolation, status, cluster, database_name, schema_name,
        schema_version
    )
    SELECT
        'crowd-' || n, 'Crowd number ' || n || ' Ltd', c.region, 'database', 'active', c.cluster,
        'fh_' || lpad(to_hex(n), 16, '0'), 'ledger', $1
    FROM generate_series(1, 1000) AS n, (SELECT region, cluster FROM clusters LIMIT 1) AS c
    RETURNING tenant_id, substr(tenant_id, 7)::bigint AS n
)
INSERT INTO tenant_usage (
    tenant_id, sampled_at, connections, server_active_ms, server_writes,
    size_bytes, events, events_per_s, accounts, events_behind, seconds_behind
)
SELECT
    tenant_id, now(), 1, 0, 0,
    n * 10000, n * 1000, n, n * 10, 0, CASE n WHEN 8 THEN 99 ELSE 0 END
FROM made
RETURNING tenant_id
"""
