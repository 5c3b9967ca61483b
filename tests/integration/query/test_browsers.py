"""What browsers need: pages of other origins may read, and long answers are packed."""

import gzip
from collections.abc import AsyncIterator

import httpx
import pytest

from freehold_query.settings import Settings
from integration.query.conftest import serve
from integration.query.tenants import Landlord, Tenant
from support.builders import new_event

APP = "https://app.example.com"
SHOP = "http://localhost:5173"


@pytest.fixture(scope="module")
async def browsed(landlord: Landlord, still_tenant: Tenant) -> AsyncIterator[httpx.AsyncClient]:
    await still_tenant.append(*[new_event(f"cus_{n}", 1) for n in range(50)])
    await still_tenant.project()
    async with serve(landlord.dsn(), still_tenant, cors_origins=f"{APP},{SHOP}") as client:
        yield client


@pytest.mark.parametrize("origin", [APP, SHOP])
async def test_a_browser_is_told_what_its_page_may_send(
    browsed: httpx.AsyncClient, origin: str
) -> None:
    answer = await asked_before(browsed, origin, "authorization, if-none-match, prefer")
    assert answer.status_code == 204
    assert answer.content == b""
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD"
    taken = answer.headers["access-control-allow-headers"].lower().split(", ")
    assert {"authorization", "if-none-match", "prefer", "last-event-id"} <= set(taken)
    assert answer.headers["access-control-max-age"] == "3600"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-credentials" not in answer.headers


async def test_a_page_of_another_origin_is_not_let_in(browsed: httpx.AsyncClient) -> None:
    for origin in ("https://other.example.com", f"{APP}.evil.example", "null", f"{APP}:443"):
        before = await asked_before(browsed, origin, "authorization")
        answer = await browsed.get("/v1/balances", headers={"Origin": origin})
        for each in (before, answer):
            assert "access-control-allow-origin" not in each.headers


async def test_a_page_reads_answers_and_problems(browsed: httpx.AsyncClient) -> None:
    for path, status in (("/v1/balances", 200), ("/v1/lag?x=y", 422), ("/v1/nothing", 404)):
        answer = await browsed.get(path, headers={"Origin": APP})
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == APP
        assert "ETag" in answer.headers["access-control-expose-headers"]


async def test_any_origin_may_be_let_in(landlord: Landlord, still_tenant: Tenant) -> None:
    async with serve(landlord.dsn(), still_tenant, cors_origins="*") as client:
        answer = await client.get("/v1/lag", headers={"Origin": "https://any.example"})
        assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(
    "text",
    [
        "app.example.com",
        f"{APP}/",
        f"{APP}/a",
        f"*,{APP}",
        f"{APP}, {SHOP}",
        "https://A.com",
        "null",
    ],
)
def test_what_no_browser_sends_as_an_origin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="origins are written"):
        Settings(catalog_dsn="postgresql://x", credential_keys="x", cors_origins=text)


@pytest.mark.parametrize(
    ("accepted", "is_packed"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("deflate,gzip ; q=1.0", True),
        ("gzip;q=0", False),
        ("gzip;q=0.0, br", False),
        ("br, xgzip", False),
        ("identity", False),
    ],
)
async def test_a_long_answer_is_packed_for_who_takes_it(
    browsed: httpx.AsyncClient, accepted: str, *, is_packed: bool
) -> None:
    headers = {"Accept-Encoding": accepted}
    async with browsed.stream("GET", "/v1/balances", headers=headers) as answer:
        sent = b"".join([part async for part in answer.aiter_raw()])
    assert answer.headers.get("content-encoding") == ("gzip" if is_packed else None)
    assert answer.headers["vary"].count("Accept-Encoding") == 1
    assert int(answer.headers["content-length"]) == len(sent)
    plain = await browsed.get("/v1/balances", headers={"Accept-Encoding": "identity"})
    assert (gzip.decompress(sent) if is_packed else sent) == plain.content
    assert not is_packed or len(sent) < len(plain.content) / 3
    # It says the same, packed or not.
    assert answer.headers["etag"] == plain.headers["etag"]
    kept = {**headers, "If-None-Match": answer.headers["etag"]}
    assert (await browsed.get("/v1/balances", headers=kept)).status_code == 304


async def test_a_short_answer_is_not_packed(browsed: httpx.AsyncClient) -> None:
    for path in ("/v1/accounts/cus_1/balances", "/v1/lag", "/healthz"):
        answer = await browsed.get(path, headers={"Accept-Encoding": "gzip"})
        assert "content-encoding" not in answer.headers


async def asked_before(client: httpx.AsyncClient, origin: str, headers: str) -> httpx.Response:
    """What a browser asks before a page's request."""
    sent = {
        "Origin": origin,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": headers,
        "Authorization": "",
    }
    return await client.options("/v1/balances", headers=sent)
