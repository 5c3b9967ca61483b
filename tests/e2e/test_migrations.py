"""Ledgers brought up to date: asked for once, looked at until it is done."""

import pytest

from support.clients import Document, Freehold, Tenant, found, pointers, problem
from support.waiting import eventually


async def migrated(freehold: Freehold, body: Document | bytes | None) -> Document:
    answer = await freehold.manage("POST", "/migrations", body)
    assert answer.status_code == 202, answer.text
    assert (answer.json()["kind"], answer.json()["tenant_id"]) == ("migration", None)

    async def over() -> Document | None:
        operation = await freehold.manage("GET", f"/operations/{answer.json()['operation_id']}")
        return found(operation) if found(operation)["finished_at"] else None

    return await eventually(over, "the migration has ended")


async def test_what_is_up_to_date_stays_as_it_is(freehold: Freehold, tenant: Tenant) -> None:
    event = await tenant.append()
    for phase in ("before", "after"):
        done = await migrated(freehold, {"phase": phase, "tenants": [tenant.tenant_id]})
        assert (done["status"], done["progress"]) == ("succeeded", 1)
        assert done["result"]["tenants"] == 1
    assert (await tenant.append())["seq"] == event["seq"] + 1
    assert (await tenant.caught_up())["head_seq"] == event["seq"] + 1
    overview = found(await freehold.manage("GET", "/migrations", params={"limit": 1}))
    assert overview["ledger_version"] >= overview["ledger_version_min"]
    assert sum(overview["statuses"].values()) == sum(
        version["tenants"] for version in overview["versions"]
    )
    assert len(overview["data"]) == 1


@pytest.mark.parametrize("body", [None, b"", {}, {"phase": "before", "tenants": None}])
async def test_without_a_word_all_tenants_are_migrated_before_the_deploy(
    freehold: Freehold, tenant: Tenant, body: Document | bytes | None
) -> None:
    done = await migrated(freehold, body)
    assert done["status"] == "succeeded", done
    assert done["result"]["phase"] == "before"
    assert done["result"]["tenants"] >= 1
    assert (await tenant.append())["seq"] == 1


async def test_a_migrations_body_is_json_or_nothing(freehold: Freehold) -> None:
    problem(await freehold.manage("POST", "/migrations", b" "), "malformed-json")


async def test_nobody_is_migrated_who_is_not_there(freehold: Freehold, tenant: Tenant) -> None:
    body = {"tenants": [tenant.tenant_id, "nobody-of-this-name"]}
    assert pointers(await freehold.manage("POST", "/migrations", body)) == ["/tenants/1"]
