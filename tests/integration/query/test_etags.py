"""Entity tags: an unchanged balance costs 304, a changed one never does."""

import httpx
import pytest

from integration.query.tenants import Tenant
from support.builders import new_event

ACCOUNT = "/v1/accounts/cus_42/balances"
PATHS = [ACCOUNT, f"{ACCOUNT}/USD", f"{ACCOUNT}?consistency=strong"]


@pytest.fixture(scope="module")
async def unchanged(still_query: httpx.AsyncClient, still_tenant: Tenant) -> httpx.AsyncClient:
    """Query, asked for balances that no test changes."""
    await fill(still_tenant)
    return still_query


@pytest.fixture
async def balance(tenant: Tenant) -> Tenant:
    await fill(tenant)
    return tenant


async def fill(tenant: Tenant) -> None:
    await tenant.append(new_event("cus_42", 2000), new_event("cus_42", 3, currency="EUR"))
    await tenant.project()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "form", ["{tag}", "{strong}", '"other", {tag}', 'W/"a,b" ,{tag},"x"', "*", " * "]
)
async def test_an_unchanged_balance_is_not_sent_again(
    unchanged: httpx.AsyncClient, path: str, form: str
) -> None:
    first = await unchanged.get(path)
    tag = first.headers["etag"]
    assert tag.startswith('W/"')
    assert first.headers["cache-control"] == "private, no-cache"
    condition = form.format(tag=tag, strong=tag.removeprefix("W/"))
    again = await unchanged.get(path, headers={"If-None-Match": condition})
    assert again.status_code == 304
    assert again.content == b""
    assert "content-type" not in again.headers
    for name in ("etag", "cache-control", "vary"):
        assert again.headers[name] == first.headers[name]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("form", ['"other"', "", "{bare}", 'W/"*"', "*x"])
async def test_another_tag_gets_the_balance(
    unchanged: httpx.AsyncClient, path: str, form: str
) -> None:
    tag = (await unchanged.get(path)).headers["etag"]
    bare = tag.removeprefix("W/").strip('"')
    answer = await unchanged.get(path, headers={"If-None-Match": form.format(bare=bare)})
    assert answer.status_code == 200


async def test_several_condition_headers_count_as_one_list(unchanged: httpx.AsyncClient) -> None:
    tag = (await unchanged.get(ACCOUNT)).headers["etag"]
    conditions = [("If-None-Match", '"other"'), ("If-None-Match", tag), *unchanged.headers.items()]
    assert (await unchanged.get(ACCOUNT, headers=conditions)).status_code == 304


@pytest.mark.parametrize("change", [new_event("cus_42", 1), new_event("cus_42", 1, currency="JPY")])
async def test_a_changed_balance_has_another_tag(
    query: httpx.AsyncClient, balance: Tenant, change: object
) -> None:
    tag = (await query.get(ACCOUNT)).headers["etag"]
    await balance.append(change)  # type: ignore[arg-type]
    # The tag of the projected balance holds until the projection; that of the strong one does not.
    condition = {"If-None-Match": tag}
    assert (await query.get(ACCOUNT, headers=condition)).status_code == 304
    strong = await query.get(f"{ACCOUNT}?consistency=strong", headers=condition)
    assert strong.status_code == 200
    await balance.project()
    changed = await query.get(ACCOUNT, headers=condition)
    assert changed.status_code == 200
    assert changed.headers["etag"] == strong.headers["etag"] != tag


async def test_a_change_elsewhere_leaves_the_tag(query: httpx.AsyncClient, balance: Tenant) -> None:
    tags = [(await query.get(path)).headers["etag"] for path in PATHS]
    await balance.append(new_event("cus_43", 1))
    await balance.project()
    assert [(await query.get(path)).headers["etag"] for path in PATHS] == tags


async def test_a_condition_does_not_hide_that_there_is_nothing(
    unchanged: httpx.AsyncClient,
) -> None:
    answer = await unchanged.get("/v1/accounts/unknown/balances", headers={"If-None-Match": "*"})
    assert answer.status_code == 404
