"""API keys: what each scope allows, and that a key ends when it expires or is revoked."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from support.answers import created, found, pointers, problem
from support.clients import Freehold, Tenant
from support.documents import Document
from support.waiting import eventually

KEPT_FROM_VIEW = "0" * 64
# Long enough for a busy machine to use a key once before it ends.
LASTS_S = 8


async def test_each_scope_permits_its_own_routes_only(tenant: Tenant) -> None:
    event = await tenant.append()
    writer = await tenant.limited_to("ingest")
    reader = await tenant.limited_to("read")
    auditor = await tenant.limited_to("audit")
    exporter = await tenant.limited_to("export")

    await writer.append()
    for other in (reader, auditor, exporter):
        for path in ("/events", "/events/batch", f"/events/{event.event_id}/reversal"):
            problem(await other.post(path, {}), "missing-scope")

    for path in ("/events", f"/events/{event.event_id}"):
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


async def test_a_revoked_key_ends_where_it_was_known(tenant: Tenant) -> None:
    bearer = await tenant.limited_to("ingest", "read")
    await bearer.append()
    await bearer.lag()
    await bearer.revoke()
    await bearer.shut_out()
    problem(await bearer.post("/events", {}), "unauthorized")
    problem(await bearer.get("/lag"), "unauthorized")
    # The tenant's other key goes on working.
    await tenant.append()


async def test_a_key_ends_at_its_time(freehold: Freehold, tenant: Tenant) -> None:
    expires_at = (datetime.now(UTC) + timedelta(seconds=LASTS_S)).isoformat()
    wanted = {"scopes": ["read"], "expires_at": expires_at}
    made = created(await freehold.manage("POST", keys_of(tenant), wanted))
    bearer = tenant.bearing(made["api_key"])
    assert (await bearer.get("/lag")).status_code == 200

    async def over() -> bool:
        return (await bearer.get("/lag")).status_code == 401

    await eventually(over, "the key has expired", every_s=0.25)


async def test_a_key_is_replaced_while_the_old_one_goes_on_for_a_while(
    freehold: Freehold, tenant: Tenant
) -> None:
    old = created(await freehold.manage("POST", keys_of(tenant), {"scopes": ["read"]}))
    before = datetime.now(UTC)
    answer = await replace(freehold, tenant, old["key_id"], {"overlap_s": LASTS_S})
    assert answer.headers["cache-control"] == "no-store"
    new = created(answer)
    assert new["key_id"] != old["key_id"]
    assert (new["scopes"], new["expires_at"]) == (["read"], None)
    assert new["replaced"]["key_id"] == old["key_id"]
    ends_at = datetime.fromisoformat(new["replaced"]["expires_at"])
    assert timedelta(seconds=LASTS_S - 1) < ends_at - before < timedelta(seconds=30)
    listed = found(await freehold.manage("GET", keys_of(tenant)))["data"]
    ends = {key["key_id"]: key["expires_at"] for key in listed}
    assert ends[old["key_id"]] == new["replaced"]["expires_at"]

    # Both work, until the old one ends, and not a moment longer.
    bearers = [tenant.bearing(key["api_key"]) for key in (old, new)]
    assert [(await bearer.get("/lag")).status_code for bearer in bearers] == [200, 200]

    async def over() -> bool:
        return (await bearers[0].get("/lag")).status_code == 401

    await eventually(over, "the old key has ended", every_s=0.25)
    assert datetime.now(UTC) >= ends_at
    assert (await bearers[1].get("/lag")).status_code == 200


async def test_rotation_never_extends_the_life_of_a_key(freehold: Freehold, tenant: Tenant) -> None:
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


async def test_an_ended_key_cannot_be_rotated(freehold: Freehold, tenant: Tenant) -> None:
    old = created(await freehold.manage("POST", keys_of(tenant), {"scopes": ["read"]}))
    await freehold.manage("DELETE", f"{keys_of(tenant)}/{old['key_id']}")
    problem(await replace(freehold, tenant, old["key_id"]), "api-key-ended")
    problem(await replace(freehold, tenant, "0123456789abcdef"), "not-found")
    assert len(found(await freehold.manage("GET", keys_of(tenant)))["data"]) == 2


@pytest.mark.parametrize(
    "body", [{"overlap_s": -1}, {"overlap_s": "60"}, {"overlap_s": 10**9}, {"expires_at": "soon"}]
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
async def test_a_request_without_a_valid_key_is_refused(
    freehold: Freehold, credential: str | None
) -> None:
    headers = {} if credential is None else {"Authorization": credential}
    at = freehold.addresses
    for method, url in (("POST", f"{at.ingest}/v1/events"), ("GET", f"{at.query}/v1/balances")):
        problem(await freehold.ask(method, url, headers=headers), "unauthorized")


async def test_the_scheme_of_a_credential_is_read_in_any_case(tenant: Tenant) -> None:
    answer = await tenant.freehold.ask(
        "GET",
        f"{tenant.freehold.addresses.query}/v1/lag",
        headers={"Authorization": f"bearer {tenant.api_key}"},
    )
    assert answer.status_code == 200


def keys_of(tenant: Tenant) -> str:
    return f"/tenants/{tenant.tenant_id}/api-keys"


async def replace(
    freehold: Freehold, tenant: Tenant, key_id: str, body: Document | None = None
) -> httpx.Response:
    return await freehold.manage("POST", f"{keys_of(tenant)}/{key_id}/rotate", body)


async def test_a_link_signs_one_person_in(freehold: Freehold, tenant: Tenant) -> None:
    reader = await tenant.limited_to("read")
    key_id = reader.api_key.split("_")[1]
    links = f"{keys_of(tenant)}/{key_id}/sign-in-links"
    first = created(await freehold.manage("POST", links))
    second = created(await freehold.manage("POST", links, {"expires_in_s": 3600}))
    assert datetime.fromisoformat(second["expires_at"]) > datetime.now(UTC) + timedelta(minutes=50)
    async with httpx.AsyncClient(base_url=freehold.addresses.query, trust_env=False) as browser:
        # To look at a link, as mail programs do, does not use it.
        assert (await browser.get(first["path"])).status_code == 200
        assert (await browser.get(first["path"])).status_code == 200
        assert (await sign_in(browser, first)).headers["location"] == "/console"
        assert (await browser.get("/console")).status_code == 200
    async with httpx.AsyncClient(base_url=freehold.addresses.query, trust_env=False) as browser:
        assert (await sign_in(browser, first)).status_code == 401
        await reader.revoke()
        await reader.shut_out()
        assert (await sign_in(browser, second)).status_code == 401
    problem(await freehold.manage("POST", links), "api-key-ended")
    problem(await freehold.manage("POST", links, {"expires_in_s": 0}), "validation-failed")
    unknown = f"{keys_of(tenant)}/{'0' * 16}/sign-in-links"
    problem(await freehold.manage("POST", unknown), "not-found")


async def sign_in(browser: httpx.AsyncClient, link: Document) -> httpx.Response:
    form = {"link": link["path"].partition("link=")[2]}
    headers = {"Sec-Fetch-Site": "same-origin"}
    return await browser.post("/console/sign-in", data=form, headers=headers)
