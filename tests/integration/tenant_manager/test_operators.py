"""Operators: their tokens, and what each role may do."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from freehold_tenant_manager.settings import Settings
from integration.tenant_manager.installation import Installation, make_tenant, new_tenant
from support.answers import created, found, problem
from support.documents import operations
from support.operators import acts, bearing, make_operator


async def test_a_token_is_shown_once_and_stands_for_its_operator(
    manager: httpx.AsyncClient, installation: Installation, settings: Settings
) -> None:
    made = await make_operator(manager, "viewer")
    me = found(await manager.get("/v1/me", headers=bearing(made["token"])))
    assert me == {"name": made["name"], "role": "viewer", "credential": "token"}
    listed = (await manager.get("/v1/operators", params={"limit": 1000})).text
    assert made["name"] in listed
    assert made["token"].split("_")[2] not in listed
    async with installation.superuser(settings.catalog_name) as superuser:
        stored = await superuser.fetch("SELECT o::text FROM catalog.operators AS o")
    assert made["token"].split("_")[2] not in str(stored)


async def test_the_settings_token_is_the_owner_root(manager: httpx.AsyncClient) -> None:
    me = found(await manager.get("/v1/me"))
    assert me == {"name": "root", "role": "owner", "credential": "token"}
    taken = {"name": "root", "role": "viewer"}
    problem(await manager.post("/v1/operators", json=taken), "operator-exists")


async def test_a_revoked_token_is_refused_by_every_process_at_once(
    manager: httpx.AsyncClient, other_manager: httpx.AsyncClient
) -> None:
    made = await make_operator(manager, "owner")
    name, headers = made["name"], bearing(made["token"])
    found(await other_manager.get("/v1/me", headers=headers))
    path = f"/v1/operators/{name}"
    problem(await manager.delete(path), "validation-failed")
    problem(await manager.delete(path, params={"confirm": "other"}), "validation-failed")
    for _ in range(2):
        answer = await manager.delete(path, params={"confirm": name})
        assert answer.status_code == 204
    problem(await other_manager.get("/v1/me", headers=headers), "unauthorized")
    problem(await manager.post(f"{path}/rotate"), "operator-revoked")
    again = {"name": name, "role": "owner"}
    problem(await manager.post("/v1/operators", json=again), "operator-exists")
    listed = (await manager.get("/v1/operators", params={"limit": 1000})).json()["data"]
    assert next(one for one in listed if one["name"] == name)["revoked_at"]


async def test_rotation_ends_the_token_before(manager: httpx.AsyncClient) -> None:
    made = await make_operator(manager, "operator")
    rotated = created(await manager.post(f"/v1/operators/{made['name']}/rotate"))
    assert (rotated["name"], rotated["role"]) == (made["name"], "operator")
    problem(await manager.get("/v1/me", headers=bearing(made["token"])), "unauthorized")
    found(await manager.get("/v1/me", headers=bearing(rotated["token"])))


async def test_an_expired_token_is_refused(
    manager: httpx.AsyncClient, installation: Installation, settings: Settings
) -> None:
    expires_at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    made = await make_operator(manager, "viewer", expires_at=expires_at)
    found(await manager.get("/v1/me", headers=bearing(made["token"])))
    async with installation.superuser(settings.catalog_name) as superuser:
        await superuser.execute(
            "UPDATE catalog.operators SET expires_at = now() WHERE name = $1", made["name"]
        )
    problem(await manager.get("/v1/me", headers=bearing(made["token"])), "unauthorized")


@pytest.mark.parametrize(
    "token",
    [
        "fo_0123456789abcdef_" + "0" * 64,
        "fo_",
        "fh_0123456789abcdef_" + "0" * 64,
        "fo_0123456789abcdef_" + "0" * 63 + "\u00e9",
    ],
)
async def test_a_wrong_token_is_refused_and_not_recorded(
    manager: httpx.AsyncClient, token: str
) -> None:
    request_id = secrets.token_hex(8)
    headers = [
        (b"authorization", f"Bearer {token}".encode("latin-1")),
        (b"x-request-id", request_id.encode()),
    ]
    problem(await manager.post("/v1/tenants", json=new_tenant(), headers=headers), "unauthorized")
    assert not [act for act in await acts(manager) if act["request_id"] == request_id]


@pytest.mark.parametrize(
    "wanted",
    [
        {"name": "Jane", "role": "viewer"},
        {"name": "j", "role": "viewer"},
        {"name": "jane", "role": "admin"},
        {"name": "jane"},
        {"name": "jane", "role": "viewer", "expires_at": "2001-01-01T00:00:00Z"},
        {"name": "jane", "role": "viewer", "token": "mine"},
    ],
)
async def test_what_breaks_a_rule_makes_no_operator(
    manager: httpx.AsyncClient, wanted: dict[str, Any]
) -> None:
    problem(await manager.post("/v1/operators", json=wanted), "validation-failed")


async def test_an_operator_that_is_not_there_is_not_found(manager: httpx.AsyncClient) -> None:
    for name in ("nobody.at-all", "No Name", "%00"):
        path = f"/v1/operators/{name}"
        problem(await manager.post(f"{path}/rotate"), "not-found")
    missing = "nobody.at-all"
    answer = await manager.delete(f"/v1/operators/{missing}", params={"confirm": missing})
    problem(answer, "not-found")


async def test_each_role_may_do_what_it_is_for(manager: httpx.AsyncClient) -> None:
    tenant_id = await make_tenant(manager)
    tenant = f"/v1/tenants/{tenant_id}"
    viewer, operator, owner = [
        bearing((await make_operator(manager, role))["token"])
        for role in ("viewer", "operator", "owner")
    ]
    found(await manager.get(tenant, headers=viewer))
    for method, path in (("GET", f"{tenant}/credentials"), ("POST", f"{tenant}/suspend")):
        refused = problem(await manager.request(method, path, headers=viewer), "role-missing")
        assert "operator" in refused["detail"]
        found(await manager.request(method, path, headers=operator))
    confirmed = {"confirm": tenant_id}
    for refused_role in (viewer, operator):
        answer = await manager.delete(tenant, params=confirmed, headers=refused_role)
        assert "owner" in problem(answer, "role-missing")["detail"]
    wanted = {"name": f"op-{secrets.token_hex(6)}", "role": "owner"}
    problem(await manager.post("/v1/operators", json=wanted, headers=operator), "role-missing")
    created(await manager.post("/v1/operators", json=wanted, headers=owner))
    assert (await manager.delete(tenant, params=confirmed, headers=owner)).status_code == 202


async def test_every_route_that_changes_something_asks_for_a_role_and_is_recorded(
    app: FastAPI, manager: httpx.AsyncClient
) -> None:
    viewer = await make_operator(manager, "viewer")
    asked: dict[str, str] = {}
    for method, template, operation in operations(app.openapi()):
        if method == "get" or operation["security"] == []:
            continue
        request_id = asked.setdefault(operation["operationId"], secrets.token_hex(8))
        path = template.replace("{", "x").replace("}", "x")
        headers = {**bearing(viewer["token"]), "X-Request-Id": request_id}
        problem(await manager.request(method, path, headers=headers), "role-missing")
    assert len(asked) > 15
    entries = await acts(manager, operator=viewer["name"])
    for act, request_id in asked.items():
        of_act = [entry for entry in entries if entry["act"] == act]
        assert [entry["phase"] for entry in of_act] == ["begun", "ended"], act
        assert {entry["request_id"] for entry in of_act} == {request_id}
        assert of_act[1]["outcome"] == {"status": 403, "problem": "role-missing"}


async def test_names_and_hashes_are_kept_by_the_catalog_itself(
    installation: Installation, settings: Settings, app: FastAPI
) -> None:
    async with installation.superuser(settings.catalog_name) as superuser:
        with pytest.raises(asyncpg.CheckViolationError):
            await superuser.execute(
                "INSERT INTO catalog.operators (name, role, token_id, token_hash)"
                " VALUES ('Jane Doe', 'viewer', 'x', '')"
            )
