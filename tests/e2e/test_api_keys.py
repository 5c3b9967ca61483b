"""API keys: what each scope allows, and that a key ends when it expires or is revoked."""

import time
from datetime import UTC, datetime, timedelta

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
