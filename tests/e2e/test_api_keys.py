"""API keys: what each scope allows, and that a key ends when it expires or is revoked."""

import time
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from support.clients import Document, Freehold, Tenant, created, found, pointers, problem
from support.waiting import eventually

KEPT_FROM_VIEW = "0" * 64
REVOKED_WITHIN_S = 2.0


async def test_a_key_is_shown_once_and_listed_without_its_secret(
    freehold: Freehold, tenant: Tenant
) -> None:
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    wanted = {"scopes": ["read", "ingest"], "expires_at": expires_at.isoformat()}
    made = created(await freehold.manage("POST", keys_of(tenant), wanted))
    assert set(made) == {"key_id", "api_key", "scopes", "created_at", "expires_at"}
    assert sorted(made["scopes"]) == ["ingest", "read"]
    assert made["expires_at"] == f"{expires_at:%Y-%m-%dT%H:%M:%S.%f}Z"
    answer = await freehold.manage("GET", keys_of(tenant))
    listed = {key["key_id"]: key for key in found(answer)["data"]}
    assert len(listed) == 2
    assert set(listed[made["key_id"]]) == {
        "key_id",
        "scopes",
        "created_at",
        "expires_at",
        "revoked_at",
    }
    for key in (made["api_key"], tenant.api_key):
        assert key.rpartition("_")[2] not in answer.text


async def test_each_scope_opens_its_own_doors_only(tenant: Tenant) -> None:
    event = await tenant.append()
    writer = await tenant.limited_to("ingest")
    reader = await tenant.limited_to("read")
    auditor = await tenant.limited_to("audit")
    exporter = await tenant.limited_to("export")

    await writer.append()
    for other in (reader, auditor, exporter):
        for path in ("/events", "/events/batch", f"/events/{event['event_id']}/reversal"):
            problem(await other.post(path, {}), "missing-scope")

    for path in ("/events", f"/events/{event['event_id']}"):
        found(await reader.get(path))
        found(await auditor.get(path))
        for other in (writer, exporter):
            problem(await other.get(path), "missing-scope")

    for path in ("/accounts/cus_42/balances", "/accounts/cus_42/balances/USD", "/balances", "/lag"):
        if "accounts" in path:
            await tenant.caught_up()
        found(await reader.get(path))
        for other in (writer, auditor, exporter):
            problem(await other.get(path), "missing-scope")


async def test_a_revoked_key_ends_within_two_seconds_where_it_was_known(
    freehold: Freehold, tenant: Tenant
) -> None:
    made = created(await freehold.manage("POST", keys_of(tenant), {"scopes": ["ingest", "read"]}))
    bearer = tenant.bearing(made["api_key"])
    await bearer.append()
    await bearer.lag()

    revocation = await freehold.manage("DELETE", f"{keys_of(tenant)}/{made['key_id']}")
    assert revocation.status_code == 204
    revoked = time.monotonic()

    async def shut_out() -> bool:
        written = await bearer.post("/events", {})
        read = await bearer.get("/lag")
        return written.status_code == read.status_code == 401

    await eventually(shut_out, "the revoked key is refused", within_s=REVOKED_WITHIN_S)
    assert time.monotonic() - revoked < REVOKED_WITHIN_S
    problem(await bearer.post("/events", {}), "unauthorized")
    problem(await bearer.get("/lag"), "unauthorized")
    # The tenant's other key goes on working.
    await tenant.append()


async def test_a_revocation_is_kept_on_record_and_may_be_repeated(
    freehold: Freehold, tenant: Tenant
) -> None:
    made = created(await freehold.manage("POST", keys_of(tenant), {"scopes": ["read"]}))
    for _ in range(2):
        answer = await freehold.manage("DELETE", f"{keys_of(tenant)}/{made['key_id']}")
        assert answer.status_code == 204
    listed = found(await freehold.manage("GET", keys_of(tenant)))["data"]
    revoked = {key["key_id"]: key["revoked_at"] is not None for key in listed}
    assert revoked[made["key_id"]]
    assert sum(revoked.values()) == 1


async def test_a_key_ends_at_its_time(freehold: Freehold, tenant: Tenant) -> None:
    expires_at = (datetime.now(UTC) + timedelta(seconds=3)).isoformat()
    wanted = {"scopes": ["read"], "expires_at": expires_at}
    made = created(await freehold.manage("POST", keys_of(tenant), wanted))
    bearer = tenant.bearing(made["api_key"])
    assert (await bearer.get("/lag")).status_code == 200

    async def over() -> bool:
        return (await bearer.get("/lag")).status_code == 401

    await eventually(over, "the key has expired", within_s=20)


async def test_a_key_is_replaced_while_the_old_one_goes_on_for_a_while(
    freehold: Freehold, tenant: Tenant
) -> None:
    old = created(await freehold.manage("POST", keys_of(tenant), {"scopes": ["read"]}))
    before = datetime.now(UTC)
    answer = await replace(freehold, tenant, old["key_id"], {"overlap_s": 3})
    assert answer.headers["cache-control"] == "no-store"
    new = created(answer)
    assert new["key_id"] != old["key_id"]
    assert (new["scopes"], new["expires_at"]) == (["read"], None)
    assert new["replaced"]["key_id"] == old["key_id"]
    ends_at = datetime.fromisoformat(new["replaced"]["expires_at"])
    assert timedelta(seconds=2) < ends_at - before < timedelta(seconds=30)
    listed = found(await freehold.manage("GET", keys_of(tenant)))["data"]
    ends = {key["key_id"]: key["expires_at"] for key in listed}
    assert ends[old["key_id"]] == new["replaced"]["expires_at"]

    # Both work, until the old one ends, and not a moment longer.
    bearers = [tenant.bearing(key["api_key"]) for key in (old, new)]
    assert [(await bearer.get("/lag")).status_code for bearer in bearers] == [200, 200]

    async def over() -> bool:
        return (await bearers[0].get("/lag")).status_code == 401

    await eventually(over, "the old key has ended", within_s=20)
    assert datetime.now(UTC) >= ends_at
    assert (await bearers[1].get("/lag")).status_code == 200


async def test_a_key_is_replaced_by_one_that_expires_and_never_lives_longer_for_it(
    freehold: Freehold, tenant: Tenant
) -> None:
    soon, later = (datetime.now(UTC) + timedelta(hours=hours) for hours in (1, 2))
    wanted = {"scopes": ["read"], "expires_at": soon.isoformat()}
    old = created(await freehold.manage("POST", keys_of(tenant), wanted))
    changes = {"overlap_s": 86_400, "expires_at": later.isoformat()}
    new = created(await replace(freehold, tenant, old["key_id"], changes))
    assert new["replaced"]["expires_at"] == old["expires_at"]
    assert datetime.fromisoformat(new["expires_at"]) == later
    # An hour, where nothing else is said.
    newer = created(await replace(freehold, tenant, new["key_id"]))
    ends_at = datetime.fromisoformat(newer["replaced"]["expires_at"])
    assert ends_at - datetime.now(UTC) < timedelta(hours=1, minutes=1)
    # At once, where that is asked for.
    created(await replace(freehold, tenant, newer["key_id"], {"overlap_s": 0}))
    problem(await tenant.bearing(newer["api_key"]).get("/lag"), "unauthorized")


async def test_a_key_that_works_no_more_is_not_replaced(freehold: Freehold, tenant: Tenant) -> None:
    old = created(await freehold.manage("POST", keys_of(tenant), {"scopes": ["read"]}))
    await freehold.manage("DELETE", f"{keys_of(tenant)}/{old['key_id']}")
    problem(await replace(freehold, tenant, old["key_id"]), "api-key-ended")
    problem(await replace(freehold, tenant, "0123456789abcdef"), "not-found")
    assert len(found(await freehold.manage("GET", keys_of(tenant)))["data"]) == 2


@pytest.mark.parametrize(
    "body",
    [{"overlap_s": -1}, {"overlap_s": "60"}, {"overlap_s": 10**9}, {"expires_at": "soon"}],
)
async def test_a_key_is_not_replaced_by_one_that_breaks_a_rule(
    freehold: Freehold, refused_tenant: Tenant, body: Document
) -> None:
    key_id = refused_tenant.api_key.split("_")[1]
    assert pointers(await replace(freehold, refused_tenant, key_id, body)) == [
        f"/{next(iter(body))}"
    ]


@pytest.mark.parametrize(
    "credential",
    [
        None,
        "",
        "Bearer",
        "Basic dXNlcjpwYXNz",
        "Bearer nonsense",
        "Bearer fh_0123456789abcdef_short",
        f"Bearer fh_0123456789abcdef_{KEPT_FROM_VIEW}",
        f"fh_0123456789abcdef_{KEPT_FROM_VIEW}",
        "Bearer \u00fcn\u00efcode",
    ],
)
async def test_without_a_valid_key_nobody_is_let_in(
    freehold: Freehold, credential: str | None
) -> None:
    headers = {} if credential is None else {"Authorization": credential}
    at = freehold.addresses
    for method, url in (("POST", f"{at.ingest}/v1/events"), ("GET", f"{at.query}/v1/balances")):
        problem(await freehold.ask(method, url, headers=headers), "unauthorized")


async def test_a_key_with_another_secret_is_not_valid(tenant: Tenant) -> None:
    prefix = tenant.api_key.rpartition("_")[0]
    guesser = tenant.bearing(f"{prefix}_{KEPT_FROM_VIEW}")
    problem(await guesser.post("/events", {}), "unauthorized")
    problem(await guesser.get("/lag"), "unauthorized")


async def test_the_scheme_of_a_credential_is_read_in_any_case(tenant: Tenant) -> None:
    answer = await tenant.freehold.ask(
        "GET",
        f"{tenant.freehold.addresses.query}/v1/lag",
        headers={"Authorization": f"bearer {tenant.api_key}"},
    )
    assert answer.status_code == 200


REFUSED = {
    "no scopes": ({"scopes": []}, "/scopes"),
    "scopes left out": ({}, "/scopes"),
    "an unknown scope": ({"scopes": ["read", "root"]}, "/scopes/1"),
    "a scope named twice": ({"scopes": ["read", "read"]}, "/scopes"),
    "a time gone by": ({"scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
    "no time at all": ({"scopes": ["read"], "expires_at": "soon"}, "/expires_at"),
    "a member too many": ({"scopes": ["read"], "colour": "red"}, "/colour"),
}


@pytest.mark.parametrize(("wanted", "pointer"), REFUSED.values(), ids=REFUSED)
async def test_a_key_that_breaks_a_rule_is_refused(
    freehold: Freehold, refused_tenant: Tenant, wanted: Document, pointer: str
) -> None:
    answer = await freehold.manage("POST", keys_of(refused_tenant), wanted)
    assert pointers(answer) == [pointer]


async def test_keys_of_unknown_tenants_are_not_found(freehold: Freehold) -> None:
    for method, path, body in (
        ("GET", "/tenants/nobody-here/api-keys", None),
        ("POST", "/tenants/nobody-here/api-keys", {"scopes": ["read"]}),
        ("DELETE", "/tenants/nobody-here/api-keys/0123456789abcdef", None),
    ):
        problem(await freehold.manage(method, path, body), "not-found")


def keys_of(tenant: Tenant) -> str:
    return f"/tenants/{tenant.tenant_id}/api-keys"


async def replace(
    freehold: Freehold, tenant: Tenant, key_id: str, body: Document | None = None
) -> httpx.Response:
    return await freehold.manage("POST", f"{keys_of(tenant)}/{key_id}/rotate", body)
