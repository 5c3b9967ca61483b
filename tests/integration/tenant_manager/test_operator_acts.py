"""The audit log: what is in it, that it proves itself, and that nothing is done without it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from freehold_tenant_manager.http.components import Components
from freehold_tenant_manager.recovery.shipper import Shipper
from freehold_tenant_manager.settings import Settings
from integration.tenant_manager.installation import (
    Installation,
    client_of,
    components_of,
    make_tenant,
    running,
)
from support.answers import created, found, problem
from support.operations import operation_ended
from support.operators import acts, bearing, first_fault, lines_of, make_operator
from support.waiting import eventually


@pytest.fixture
async def own_settings(installation: Installation) -> Settings:
    """The settings of an installation whose audit log a test may damage."""
    return installation.settings()


@pytest.fixture
async def own_app(own_settings: Settings) -> AsyncIterator[FastAPI]:
    async with running(own_settings) as app:
        yield app


@pytest.fixture
async def own_manager(own_app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(own_app) as client:
        yield client


async def test_an_act_says_who_did_what_when_from_where_and_what_came_of_it(
    manager: httpx.AsyncClient, tenant_id: str
) -> None:
    jane = await make_operator(manager, "operator")
    headers = {**bearing(jane["token"]), "X-Request-Id": "request-of-jane"}
    wanted = {"scopes": ["read"], "label": "web shop", "expires_at": None}
    path = f"/v1/tenants/{tenant_id}/api-keys"
    key = created(await manager.post(path, json=wanted, headers=headers))
    revoked = await manager.delete(f"{path}/{key['key_id']}", headers=headers)
    assert revoked.status_code == 204
    begun, ended, *of_revoking = await acts(manager, operator=jane["name"])
    assert begun["act_id"] == ended["act_id"]
    assert begun["recorded_at"] < ended["recorded_at"]
    for entry in (begun, ended):
        assert entry["role"] == "operator"
        assert entry["credential"] == "token"
        assert entry["act"] == "create_api_key"
        assert entry["tenant_id"] == tenant_id
        assert entry["details"] == wanted
        assert entry["address"] == "127.0.0.1"
        assert entry["request_id"] == "request-of-jane"
    assert (begun["phase"], begun["outcome"]) == ("begun", None)
    assert (ended["phase"], ended["outcome"]) == ("ended", {"status": 201})
    assert {entry["target"] for entry in of_revoking} == {key["key_id"]}
    assert key["api_key"].split("_")[2] not in json.dumps(await acts(manager, tenant_id=tenant_id))


async def test_a_failed_act_is_recorded_with_its_problem(manager: httpx.AsyncClient) -> None:
    jane = await make_operator(manager, "operator")
    headers = bearing(jane["token"])
    junk = {"tenant_id": "Not A Name\0", "name": "x" * 5000, "password": "hunter2", "region": 1.5}
    problem(await manager.post("/v1/tenants", json=junk, headers=headers), "validation-failed")
    problem(await manager.post("/v1/tenants", content=b"{", headers=headers), "malformed-json")
    problem(await manager.post("/v1/tenants/%00/suspend", headers=headers), "not-found")
    entries = await acts(manager, operator=jane["name"])
    outcomes = [entry["outcome"] for entry in entries if entry["phase"] == "ended"]
    assert outcomes == [
        {"status": 422, "problem": "validation-failed"},
        {"status": 400, "problem": "malformed-json"},
        {"status": 404, "problem": "not-found"},
    ]
    assert "hunter2" not in json.dumps(entries)
    assert max(len(json.dumps(entry)) for entry in entries) < 2000


async def test_an_operations_own_end_is_recorded_in_the_name_of_who_asked(
    manager: httpx.AsyncClient, tenant_id: str
) -> None:
    jane = await make_operator(manager, "operator")
    answer = await manager.post(f"/v1/tenants/{tenant_id}/verify", headers=bearing(jane["token"]))
    operation_id = answer.json()["operation_id"]
    await operation_ended(manager, operation_id)
    _, ended, finished = await acts(manager, operator=jane["name"])
    assert ended["outcome"] == {"status": 202, "operation_id": operation_id}
    assert (finished["phase"], finished["act_id"]) == ("finished", ended["act_id"])
    assert finished["outcome"]["operation_id"] == operation_id
    assert finished["outcome"]["status"] == "succeeded"


async def test_an_export_is_an_act_that_ends_when_it_was_sent(
    manager: httpx.AsyncClient, tenant_id: str
) -> None:
    jane = await make_operator(manager, "operator")
    headers = bearing(jane["token"])
    answer = await manager.get(f"/v1/tenants/{tenant_id}/export", headers=headers)
    assert answer.status_code == 200
    problem(await manager.get("/v1/tenants/nobody-here/export", headers=headers), "not-found")
    outcomes = [
        entry["outcome"]
        for entry in await acts(manager, operator=jane["name"], act="export_ledger")
        if entry["phase"] == "ended"
    ]
    assert outcomes == [{"status": 200}, {"status": 404, "problem": "not-found"}]


async def test_the_log_is_filtered_and_paged(manager: httpx.AsyncClient, tenant_id: str) -> None:
    jane = await make_operator(manager, "operator")
    for label in ("one", "two"):
        await manager.post(
            f"/v1/tenants/{tenant_id}/api-keys",
            json={"scopes": ["read"], "label": label},
            headers=bearing(jane["token"]),
        )
    whole = await acts(manager, operator=jane["name"], tenant_id=tenant_id, act="create_api_key")
    assert [entry["details"]["label"] for entry in whole] == ["one", "one", "two", "two"]
    params: dict[str, Any] = {"operator": jane["name"], "limit": 3}
    first = found(await manager.get("/v1/operator-acts", params=params))
    params["cursor"] = first["next_cursor"]
    rest = found(await manager.get("/v1/operator-acts", params=params))
    assert [*first["data"], *rest["data"]] == whole[::-1]
    since = whole[2]["recorded_at"]
    assert await acts(manager, operator=jane["name"], **{"from": since}) == whole[2:]
    assert await acts(manager, operator=jane["name"], to=since) == whole[:2]
    problem(await manager.get("/v1/operator-acts", params={"from": "now"}), "validation-failed")


async def test_anyone_can_verify_what_was_exported(
    manager: httpx.AsyncClient, tenant_id: str
) -> None:
    path = f"/v1/tenants/{tenant_id}/api-keys"
    created(
        await manager.post(path, json={"scopes": ["read"], "label": "\u8cec \U0001f6d2 \u00e9"})
    )
    answer = await manager.get("/v1/operator-acts/export")
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = lines_of(answer.text)
    assert first_fault(lines) is None
    assert json.loads(lines[-1])["act"] == "export_operator_acts"
    assert first_fault([*lines[:3], lines[3].replace("root", "else"), *lines[4:]]) == 4
    assert first_fault([*lines[:3], *lines[4:]]) == 4
    verified = found(await manager.get("/v1/operator-acts/verify"))
    assert (verified["ok"], verified["reason"]) == (True, None)
    assert verified["entries_checked"] == verified["head_seq"] >= len(lines)


async def test_many_acts_at_once_leave_no_gap(
    manager: httpx.AsyncClient, other_manager: httpx.AsyncClient, tenant_id: str
) -> None:
    path = f"/v1/tenants/{tenant_id}/api-keys"
    answers = await asyncio.gather(
        *(
            client.post(path, json={"scopes": ["read"], "label": str(number)})
            for number in range(20)
            for client in (manager, other_manager)
        )
    )
    assert {answer.status_code for answer in answers} == {201}
    assert first_fault(lines_of((await manager.get("/v1/operator-acts/export")).text)) is None


async def test_no_one_changes_the_log(
    installation: Installation, settings: Settings, manager: httpx.AsyncClient
) -> None:
    await make_operator(manager, "viewer")
    async with installation.superuser(settings.catalog_name) as superuser:
        for statement in (
            "UPDATE catalog.operator_acts SET operator = 'someone.else'",
            "DELETE FROM catalog.operator_acts",
            "TRUNCATE catalog.operator_acts",
        ):
            with pytest.raises(asyncpg.RestrictViolationError):
                await superuser.execute(statement)


async def test_what_a_superuser_rewrites_or_cuts_is_found(
    installation: Installation,
    own_settings: Settings,
    own_app: FastAPI,
    own_manager: httpx.AsyncClient,
) -> None:
    for _ in range(3):
        await make_operator(own_manager, "viewer")
    await _shipped(components_of(own_app))
    verified = found(await own_manager.get("/v1/operator-acts/verify"))
    assert (verified["ok"], verified["shipped_seq"]) == (True, 6)
    off = "ALTER TABLE catalog.operator_acts DISABLE TRIGGER append_only"
    async with installation.superuser(own_settings.catalog_name) as superuser:
        await superuser.execute(off)
        await superuser.execute("UPDATE catalog.operator_acts SET operator = 'x' WHERE seq = 3")
        rewritten = found(await own_manager.get("/v1/operator-acts/verify"))
        assert (rewritten["ok"], rewritten["first_bad_seq"]) == (False, 3)
        await superuser.execute("UPDATE catalog.operator_acts SET operator = 'root' WHERE seq = 3")
        # Cut with its head, the chain alone proves nothing. What was shipped does, for good.
        await superuser.execute("DELETE FROM catalog.operator_acts WHERE seq > 4")
        await superuser.execute(
            "UPDATE catalog.operator_acts_head SET last_seq = 4, last_hash ="
            " (SELECT hash FROM catalog.operator_acts WHERE seq = 4)"
        )
    for _ in range(2):
        cut = found(await own_manager.get("/v1/operator-acts/verify"))
        assert (cut["ok"], cut["shipped_seq"]) == (False, 6)
        await make_operator(own_manager, "viewer")
        await _shipped(components_of(own_app))


async def test_nothing_is_done_that_cannot_be_recorded(
    installation: Installation, own_settings: Settings, own_manager: httpx.AsyncClient
) -> None:
    tenant_id = await make_tenant(own_manager)
    async with installation.superuser(own_settings.catalog_name) as superuser:
        await superuser.execute("ALTER TABLE catalog.operator_acts RENAME TO away")
        problem(await own_manager.post(f"/v1/tenants/{tenant_id}/suspend"), "unavailable")
        await superuser.execute("ALTER TABLE catalog.away RENAME TO operator_acts")
    assert found(await own_manager.get(f"/v1/tenants/{tenant_id}"))["status"] == "active"


async def _shipped(parts: Components) -> None:
    async def ship() -> int | None:
        # None while the service itself ships.
        return await parts.find(Shipper).ship()

    await eventually(ship, "the catalog is shipped")
