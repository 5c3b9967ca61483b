"""A new tenant: what is answered when it is made, and what is shown of it."""

import re

from support.answers import created, found
from support.clients import Freehold, Tenant, event_body, tenant_body
from support.documents import Document

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
    assert event.seq == 1
    assert (await tenant.get(f"/events/{event.event_id}")).status_code == 200
    keys = await all_keys(freehold, tenant)
    assert sorted(keys[0]["scopes"]) == ["audit", "export", "ingest", "read"]


async def test_a_tenant_is_shown_with_home_size_head_and_lag(
    freehold: Freehold, tenant: Tenant
) -> None:
    event = created(await tenant.post("/events", event_body()))
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


async def all_keys(freehold: Freehold, tenant: Tenant) -> list[Document]:
    keys: list[Document] = found(
        await freehold.manage("GET", f"/tenants/{tenant.tenant_id}/api-keys")
    )["data"]
    return keys
