"""Making tenants: who may, what is answered, and that asking twice makes one."""

import asyncio
import re

import pytest

from support.clients import (
    Document,
    Freehold,
    Tenant,
    created,
    found,
    pointers,
    problem,
    tenant_body,
)

TENANT_MEMBERS = {
    "tenant_id",
    "name",
    "region",
    "isolation",
    "status",
    "created_at",
    "epoch",
    "home",
    "schema_version",
    "limits",
    "deleted_at",
}


async def test_a_new_tenant_is_answered_with_a_key_that_may_do_everything(
    freehold: Freehold,
) -> None:
    wanted = tenant_body(name="Acme Ltd")
    document = created(await freehold.manage("POST", "/tenants", wanted))
    assert set(document) == {"tenant", "api_key"}
    assert set(document["tenant"]) == TENANT_MEMBERS
    assert wanted.items() <= document["tenant"].items()
    assert document["tenant"]["status"] == "active"
    assert document["tenant"]["epoch"] == 1
    assert re.fullmatch("fh_[0-9a-f]{16}_[0-9a-f]{64}", document["api_key"])
    tenant = Tenant(freehold, wanted["tenant_id"], document["api_key"])
    event = await tenant.append()
    assert event["seq"] == 1
    assert (await tenant.get(f"/events/{event['event_id']}")).status_code == 200
    keys = await all_keys(freehold, tenant)
    assert sorted(keys[0]["scopes"]) == ["audit", "export", "ingest", "read"]


async def test_the_same_request_again_answers_the_tenant_without_a_key(freehold: Freehold) -> None:
    wanted = tenant_body()
    first = created(await freehold.manage("POST", "/tenants", wanted))
    again = found(await freehold.manage("POST", "/tenants", wanted))
    assert again == {"tenant": first["tenant"]}


async def test_a_request_made_many_times_at_once_makes_one_tenant(freehold: Freehold) -> None:
    wanted = tenant_body()
    answers = await asyncio.gather(*(freehold.manage("POST", "/tenants", wanted) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert len({str(answer.json()["tenant"]) for answer in answers}) == 1


@pytest.mark.parametrize(("member", "value"), [("name", "Somebody else")])
async def test_an_existing_tenant_with_other_settings_is_a_conflict(
    freehold: Freehold, tenant: Tenant, member: str, value: str
) -> None:
    wanted = tenant_body(tenant_id=tenant.tenant_id) | {member: value}
    problem(await freehold.manage("POST", "/tenants", wanted), "tenant-exists")


REFUSED = {
    "id begins with a digit": ({"tenant_id": "1acme"}, "/tenant_id"),
    "id in capitals": ({"tenant_id": "Acme"}, "/tenant_id"),
    "id of one letter": ({"tenant_id": "a"}, "/tenant_id"),
    "id of 64 characters": ({"tenant_id": "a" * 64}, "/tenant_id"),
    "id with an underscore": ({"tenant_id": "ac_me"}, "/tenant_id"),
    "id with a line feed": ({"tenant_id": "acme\n"}, "/tenant_id"),
    "id that is no text": ({"tenant_id": 7}, "/tenant_id"),
    "name left empty": ({"name": ""}, "/name"),
    "name with a control character": ({"name": "a\u0000b"}, "/name"),
    "region unknown": ({"region": "atlantis"}, "/region"),
    "isolation unknown": ({"isolation": "none"}, "/isolation"),
    "a member too many": ({"colour": "red"}, "/colour"),
}


@pytest.mark.parametrize(("changes", "pointer"), REFUSED.values(), ids=REFUSED)
async def test_a_tenant_that_breaks_a_rule_is_refused(
    freehold: Freehold, changes: Document, pointer: str
) -> None:
    assert pointers(await freehold.manage("POST", "/tenants", tenant_body(**changes))) == [pointer]


@pytest.mark.parametrize("member", ["tenant_id", "name"])
async def test_a_tenant_has_an_id_and_a_name(freehold: Freehold, member: str) -> None:
    wanted = tenant_body()
    del wanted[member]
    assert pointers(await freehold.manage("POST", "/tenants", wanted)) == [f"/{member}"]


async def test_a_body_that_is_not_json_is_refused(freehold: Freehold) -> None:
    problem(await freehold.manage("POST", "/tenants", b"{"), "malformed-json")


async def test_a_tenant_is_shown_with_home_size_head_and_lag(
    freehold: Freehold, tenant: Tenant
) -> None:
    event = await tenant.append()
    await tenant.caught_up()
    shown = found(await freehold.manage("GET", f"/tenants/{tenant.tenant_id}"))
    assert set(shown) == TENANT_MEMBERS | {
        "size_bytes",
        "head",
        "lag",
        "reconciliation",
        "last_backup",
        "archive",
    }
    assert set(shown["home"]) == {"region", "cluster", "database", "schema"}
    # Names of databases can be seen by every role on the server.
    assert tenant.tenant_id not in shown["home"]["database"]
    assert shown["size_bytes"] > 0
    assert shown["head"] == {
        "seq": 1,
        "event_id": event["event_id"],
        "hash": event["hash"],
        "recorded_at": event["recorded_at"],
    }
    assert shown["lag"]["events_behind"] == 0
    assert shown["last_backup"] is None


async def test_an_empty_ledger_has_no_last_event(freehold: Freehold, tenant: Tenant) -> None:
    shown = found(await freehold.manage("GET", f"/tenants/{tenant.tenant_id}"))
    assert shown["head"] == {"seq": 0, "event_id": None, "hash": None, "recorded_at": None}


@pytest.mark.parametrize("tenant_id", ["nobody-here", "No-Such-Id", "%00"])
async def test_an_unknown_tenant_is_not_found(freehold: Freehold, tenant_id: str) -> None:
    problem(await freehold.manage("GET", f"/tenants/{tenant_id}"), "not-found")


async def test_tenants_are_listed_page_by_page_in_order_of_their_ids(
    freehold: Freehold, tenant: Tenant, other_tenant: Tenant
) -> None:
    listed: list[str] = []
    more: dict[str, str] = {}
    while True:
        page = found(await freehold.manage("GET", "/tenants", params={"limit": 40, **more}))
        assert len(page["data"]) <= 40
        assert all(set(entry) == TENANT_MEMBERS for entry in page["data"])
        listed += [entry["tenant_id"] for entry in page["data"]]
        if page["next_cursor"] is None:
            break
        more = {"cursor": page["next_cursor"]}
    assert listed == sorted(set(listed))
    assert {tenant.tenant_id, other_tenant.tenant_id} <= set(listed)


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"cursor": "?"}])
async def test_a_page_that_cannot_be_is_refused(freehold: Freehold, query: Document) -> None:
    answer = await freehold.manage("GET", "/tenants", params=query)
    assert pointers(answer) == [f"/{next(iter(query))}"]


async def test_regions_name_where_tenants_can_live(freehold: Freehold) -> None:
    regions = found(await freehold.manage("GET", "/regions"))["data"]
    assert "local" in {region["region"] for region in regions}


@pytest.mark.parametrize("bearer", [None, "not-the-operator", "\u00fcn\u00efcode"])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/tenants"), ("GET", "/tenants"), ("GET", "/regions")]
)
async def test_only_the_operator_is_let_in(
    freehold: Freehold, method: str, path: str, bearer: str | None
) -> None:
    url = f"{freehold.addresses.tenant_manager}/v1{path}"
    problem(await freehold.ask(method, url, bearer=bearer), "unauthorized")


async def test_a_tenants_own_key_manages_no_tenants(freehold: Freehold, tenant: Tenant) -> None:
    url = f"{freehold.addresses.tenant_manager}/v1/tenants"
    problem(await freehold.ask("GET", url, bearer=tenant.api_key), "unauthorized")


async def all_keys(freehold: Freehold, tenant: Tenant) -> list[Document]:
    keys: list[Document] = found(
        await freehold.manage("GET", f"/tenants/{tenant.tenant_id}/api-keys")
    )["data"]
    return keys
