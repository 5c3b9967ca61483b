"""Read tokens: they read the accounts with their prefix, and end with their key."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from freehold.contracts.holds import NewHold
from freehold.security.api_keys import Scope
from freehold_query.tokens import ReadToken, ReadTokens
from integration.query.tenants import Landlord, Tenant, bearer, read_token
from integration.tenant_manager.installation import KEY_RING
from support.answers import check_problem_document, pointers
from support.builders import new_event
from support.waiting import eventually


class Ledger:
    """What a tenant has: events of accounts within a prefix and without."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.events: dict[str, str] = {}
        self.transactions: dict[str, str] = {}
        self.holds: dict[str, str] = {}

    async def fill(self) -> "Ledger":
        append = self.tenant.append
        for account in ("cus_42", "cus_42:fees", "cus_43", "cus_4"):
            (event,) = await append(new_event(account, 10))
            self.events[account] = str(event["event_id"])
            (placed,) = await append(NewHold(account_id=account, currency="USD", amount_minor=1))
            self.holds[account] = str(placed["hold_id"])
        for name, other in (("within", "cus_42:fees"), ("across", "cus_43"), ("without", "cus_4")):
            mine = "cus_43" if name == "without" else "cus_42"
            legs = new_event(mine, 5), new_event(other, -5)
            first, _ = await append(*legs, transaction=True)
            self.transactions[name] = str(first["transaction_id"])
        await self.tenant.project()
        return self


@pytest.fixture(scope="module")
async def ledger(still_tenant: Tenant) -> Ledger:
    return await Ledger(still_tenant).fill()


def shown(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def signed(**changes: Any) -> dict[str, str]:
    """The header with a token as query would sign it."""
    expires_at = int(datetime.now(UTC).timestamp()) + 60
    made = ReadToken("", "", "", expires_at)._replace(**changes)
    return shown(ReadTokens(KEY_RING).sign(made))


async def test_a_token_reads_what_has_its_prefix_as_the_key_does(
    still_query: httpx.AsyncClient, ledger: Ledger
) -> None:
    limited = await read_token(still_query, account_prefix="cus_42")
    for path in (
        "/v1/accounts/cus_42/balances",
        "/v1/accounts/cus_42:fees/balances/USD?consistency=strong",
        f"/v1/events/{ledger.events['cus_42']}",
        f"/v1/holds/{ledger.holds['cus_42:fees']}",
        f"/v1/transactions/{ledger.transactions['within']}",
        "/v1/events?account_id=cus_42",
        "/v1/balances?account_prefix=cus_42:",
        "/v1/lag",
    ):
        answer = await still_query.get(path, headers=limited)
        assert answer.status_code == 200, path
        assert answer.content == (await still_query.get(path)).content, path


async def test_what_has_not_its_prefix_is_as_unknown_as_what_does_not_exist(
    still_query: httpx.AsyncClient, ledger: Ledger
) -> None:
    limited = await read_token(still_query, account_prefix="cus_42")
    paths = {
        "/v1/accounts/{}/balances": ["cus_43", "cus_4"],
        "/v1/accounts/{}/balances/USD": ["cus_43", "cus_4"],
        "/v1/events/{}": [ledger.events["cus_43"], ledger.events["cus_4"]],
        "/v1/holds/{}": [ledger.holds["cus_43"]],
        # One leg of the first is within: the other is nobody's business.
        "/v1/transactions/{}": [ledger.transactions["across"], ledger.transactions["without"]],
    }
    for path, names in paths.items():
        unknown = await still_query.get(path.format(uuid4()), headers=limited)
        for name in names:
            assert (await still_query.get(path.format(name))).status_code == 200
            answer = await still_query.get(path.format(name), headers=limited)
            assert (answer.status_code, answer.content) == (404, unknown.content), path


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("", ["cus_42", "cus_42:fees"]),
        ("c", ["cus_42", "cus_42:fees"]),
        ("cus_42", ["cus_42", "cus_42:fees"]),
        ("cus_42:", ["cus_42:fees"]),
        ("cus_43", []),
        ("x", []),
    ],
)
async def test_a_list_is_limited_to_the_prefix(
    still_query: httpx.AsyncClient, ledger: Ledger, asked: str, expected: list[str]
) -> None:
    limited = await read_token(still_query, account_prefix="cus_42")
    seen = []
    params = {"account_prefix": asked, "limit": "1"}
    while True:
        page = (await still_query.get("/v1/balances", params=params, headers=limited)).json()
        seen += [balance["account_id"] for balance in page["data"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert seen == expected


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("path", "asked"), [("/v1/events", {}), ("/v1/activity", {"bucket": "hour"})]
)
async def test_a_cursor_of_the_key_is_none_of_its_tokens(
    still_query: httpx.AsyncClient, path: str, asked: dict[str, str]
) -> None:
    page = await still_query.get(path, params={**asked, "limit": 1})
    params = {**asked, "cursor": page.json()["next_cursor"]}
    limited = await read_token(still_query, account_prefix="cus_42")
    answer = await still_query.get(path, params=params, headers=limited)
    assert pointers(answer) == ["/cursor"]


async def test_sums_are_of_the_accounts_with_the_prefix(
    still_query: httpx.AsyncClient, ledger: Ledger
) -> None:
    limited = await read_token(still_query, account_prefix="cus_42")
    same = {"account_prefix": "cus_42"}
    for params in ({}, {"account_prefix": "c"}, same, {"as_of": "2100-01-01T00:00:00Z"}):
        mine = await still_query.get("/v1/totals", params=params, headers=limited)
        whole = await still_query.get("/v1/totals", params={**params, **same})
        assert mine.json() == whole.json()
        assert mine.json()["data"][0]["account_count"] == 2
    outside = {"account_prefix": "cus_43"}
    empty = await still_query.get("/v1/totals", params=outside, headers=limited)
    assert empty.json() == {"data": []}


async def test_a_token_without_a_prefix_reads_everything(
    still_query: httpx.AsyncClient, ledger: Ledger
) -> None:
    for wanted in ({}, {"account_prefix": ""}):
        whole = await read_token(still_query, **wanted)
        for path in ("/v1/balances", "/v1/events", f"/v1/events/{ledger.events['cus_43']}"):
            answer = await still_query.get(path, headers=whole)
            assert answer.content == (await still_query.get(path)).content


async def test_a_body_may_be_left_out_and_says_when_the_token_ends(
    still_query: httpx.AsyncClient,
) -> None:
    for body, seconds in ((None, 900), ({"expires_in_s": 1}, 1), ({"expires_in_s": 3600}, 3600)):
        before = datetime.now(UTC)
        answer = await still_query.post("/v1/read-tokens", json=body)
        assert set(answer.json()) == {"token", "expires_at"}
        assert answer.headers["cache-control"] == "no-store"
        left = datetime.fromisoformat(answer.json()["expires_at"]) - before
        assert timedelta(seconds=seconds - 1) <= left <= timedelta(seconds=seconds + 1)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"expires_in_s": 0}, "/expires_in_s"),
        ({"expires_in_s": 3601}, "/expires_in_s"),
        ({"expires_in_s": "900"}, "/expires_in_s"),
        ({"expires_in_s": 1.5}, "/expires_in_s"),
        ({"expires_in_s": None}, "/expires_in_s"),
        ({"account_prefix": "a" * 256}, "/account_prefix"),
        ({"account_prefix": "a\x00"}, "/account_prefix"),
        ({"account_prefix": 4}, "/account_prefix"),
        ({"scope": "ingest"}, "/scope"),
    ],
)
async def test_a_token_that_cannot_be_is_refused(
    still_query: httpx.AsyncClient, body: dict[str, Any], pointer: str
) -> None:
    answer = await still_query.post("/v1/read-tokens", json=body)
    assert pointers(answer) == [pointer]


async def test_a_token_makes_no_token(still_query: httpx.AsyncClient) -> None:
    answer = await still_query.post("/v1/read-tokens", headers=await read_token(still_query))
    assert refused(answer) == (403, "missing-scope")


async def test_only_a_key_that_reads_makes_one(
    still_query: httpx.AsyncClient, still_tenant: Tenant, landlord: Landlord
) -> None:
    key = await landlord.key(still_tenant, Scope.INGEST, Scope.AUDIT, Scope.EXPORT)
    answer = await still_query.post("/v1/read-tokens", headers=bearer(key))
    assert refused(answer) == (403, "missing-scope")
    # Not even where one was signed for it.
    tenant_id = still_tenant.tenant_id
    headers = signed(tenant_id=tenant_id, key_id=key.key_id)
    assert refused(await still_query.get("/v1/lag", headers=headers)) == (403, "missing-scope")


async def test_a_token_is_good_for_its_own_tenant_and_key(
    still_query: httpx.AsyncClient, still_tenant: Tenant, other_tenant: Tenant
) -> None:
    mine, theirs = still_tenant, other_tenant
    good = signed(tenant_id=mine.tenant_id, key_id=mine.key.key_id)
    assert (await still_query.get("/v1/lag", headers=good)).status_code == 200
    for tenant_id, key_id in (
        (mine.tenant_id, theirs.key.key_id),
        (theirs.tenant_id, mine.key.key_id),
        (mine.tenant_id, "0" * 16),
    ):
        headers = signed(tenant_id=tenant_id, key_id=key_id)
        assert refused(await still_query.get("/v1/lag", headers=headers)) == (401, "unauthorized")


async def test_another_tenants_token_sees_nothing_of_this_one(
    still_query: httpx.AsyncClient, ledger: Ledger, other_tenant: Tenant
) -> None:
    answer = await still_query.post("/v1/read-tokens", headers=bearer(other_tenant.key))
    theirs = shown(answer.json()["token"])
    path = "/v1/accounts/cus_42/balances"
    assert refused(await still_query.get(path, headers=theirs)) == (404, "not-found")
    assert (await still_query.get("/v1/balances", headers=theirs)).json()["data"] == []


async def test_an_expired_or_unsigned_token_is_refused(
    still_query: httpx.AsyncClient, still_tenant: Tenant
) -> None:
    mine = {"tenant_id": still_tenant.tenant_id, "key_id": still_tenant.key.key_id}
    expired = signed(**mine, expires_at=int(datetime.now(UTC).timestamp()) - 1)
    whole = signed(**mine)["Authorization"]
    changed = {"Authorization": whole[:-6] + ("A" * 6)}
    for headers in (expired, changed, shown("a.b.c"), shown("..")):
        answer = await still_query.get("/v1/lag", headers=headers)
        assert refused(answer) == (401, "unauthorized")


async def test_a_token_ends_with_its_key(
    query: httpx.AsyncClient, tenant: Tenant, landlord: Landlord
) -> None:
    key = await landlord.key(tenant, Scope.READ)
    answer = await query.post("/v1/read-tokens", headers=bearer(key))
    headers = shown(answer.json()["token"])
    assert (await query.get("/v1/lag", headers=headers)).status_code == 200
    await landlord.revoke(tenant, key)
    async with asyncio.timeout(2):
        await eventually(lambda: is_refused(query, headers, 401), "the token is refused")
    assert (await query.get("/v1/lag")).status_code == 200


async def test_a_token_outlives_no_key(
    query: httpx.AsyncClient, tenant: Tenant, landlord: Landlord
) -> None:
    expires_at = datetime.now(UTC) + timedelta(seconds=5)
    key = await landlord.key(tenant, Scope.READ, expires_at=expires_at.isoformat())
    answer = await query.post("/v1/read-tokens", headers=bearer(key))
    assert datetime.fromisoformat(answer.json()["expires_at"]) <= expires_at
    longer = signed(tenant_id=tenant.tenant_id, key_id=key.key_id)
    assert (await query.get("/v1/lag", headers=longer)).status_code == 200
    await eventually(lambda: is_refused(query, longer, 401), "the key has expired")


async def test_a_suspended_tenants_token_is_refused(
    query: httpx.AsyncClient, tenant: Tenant, landlord: Landlord
) -> None:
    headers = await read_token(query)
    assert (await query.get("/v1/lag", headers=headers)).status_code == 200
    await landlord.suspend(tenant)
    await eventually(lambda: is_refused(query, headers, 403), "the tenant is suspended")


async def test_no_token_is_logged(
    still_query: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    headers = await read_token(still_query)
    text = headers["Authorization"].split()[1]
    await still_query.get("/v1/lag", headers=headers)
    answer = await still_query.get(f"/v1/lag?token={text}", headers=headers)
    assert answer.status_code == 422
    metrics = (await still_query.get("/metrics")).text
    signature = text.rpartition(".")[2]
    for shown_text in (answer.text, metrics, *capsys.readouterr()):
        assert signature not in shown_text


async def is_refused(query: httpx.AsyncClient, headers: dict[str, str], status: int) -> bool:
    return (await query.get("/v1/lag", headers=headers)).status_code == status


def refused(answer: httpx.Response) -> tuple[int, str]:
    """The status and the kind of a problem."""
    document = answer.json()
    check_problem_document(document)
    return answer.status_code, document["type"].rpartition("/")[2]
