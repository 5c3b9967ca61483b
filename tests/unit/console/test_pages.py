"""A small console of its own: what both consoles rely on."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from freehold.console.forms import Form, read_form
from freehold.console.pages import Pages, Section
from freehold.console.routes import PageRoute, return_path
from freehold.console.sessions import Sessions
from freehold.contracts.errors import NotFound, Unauthorized
from freehold.security.key_ring import KeyRing

_KEY_RING = KeyRing("k1:" + "A" * 43 + "=")
_AT_HOME = "http://127.0.0.1:8082"
_OURS = {"Origin": _AT_HOME}


class _Name(Form):
    name: str
    note: str = ""


def _application(sessions: Sessions) -> FastAPI:
    pages = Pages("freehold.console", title="Test console", sections=[Section("One", "/console")])
    router = APIRouter(route_class=PageRoute)

    @router.post("/console/sign-in")
    async def sign_in(request: Request) -> Response:
        form = await read_form(request, _Name)
        response = RedirectResponse("/console", status_code=303)
        sessions.begin(request, response, {"name": form.name})
        return response

    @router.post("/console/sign-out")
    async def sign_out(request: Request) -> Response:
        sessions.read(request)
        response = Response()
        sessions.end(request, response)
        return response

    @router.get("/console")
    async def first(request: Request) -> Response:
        session = sessions.read(request)
        if session is None:
            raise Unauthorized("sign in first")
        return Response(session.who["name"])

    @router.get("/console/missing")
    async def missing() -> Response:
        raise NotFound("there is no <b>such</b> account")

    app = FastAPI()
    app.state.error_page = pages.error
    app.include_router(router)
    app.include_router(pages.assets.routes())
    return app


@pytest.fixture
async def browser() -> AsyncIterator[httpx.AsyncClient]:
    async with _browser(Sessions(_KEY_RING, cookie="test_console")) as client:
        yield client


def _browser(sessions: Sessions, url: str = _AT_HOME) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=_application(sessions))
    return httpx.AsyncClient(transport=transport, base_url=url)


async def _sign_in(client: httpx.AsyncClient, **more: Any) -> httpx.Response:
    return await client.post("/console/sign-in", data={"name": "ann"}, headers=_OURS, **more)


async def test_a_session_is_a_cookie_that_no_script_reads(browser: httpx.AsyncClient) -> None:
    answer = await _sign_in(browser)
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Path=/console" in cookie
    assert "Secure" not in cookie
    assert (await browser.get("/console")).text == "ann"
    await browser.post("/console/sign-out", headers=_OURS)
    answer = await browser.get("/console")
    assert answer.headers["location"] == "/console/sign-in"


async def test_away_from_loopback_the_cookie_needs_https() -> None:
    sessions = Sessions(_KEY_RING, cookie="test_console")
    async with _browser(sessions, "http://books.example.com") as client:
        headers = {"Origin": "http://books.example.com"}
        answer = await client.post("/console/sign-in", data={"name": "ann"}, headers=headers)
    assert "Secure" in answer.headers["set-cookie"]


async def test_a_session_ends_and_is_worth_nothing_elsewhere() -> None:
    short = Sessions(_KEY_RING, cookie="test_console", idle_s=0)
    async with _browser(short) as client:
        cookie = (await _sign_in(client)).headers["set-cookie"].split("=", 1)[1].split(";")[0]
        assert (await client.get("/console")).status_code == 303
    for other in (
        Sessions(_KEY_RING, cookie="other_console"),
        Sessions(KeyRing("k1:" + "B" * 43 + "="), cookie="test_console"),
    ):
        async with _browser(other) as client:
            client.cookies.set("test_console", cookie)
            client.cookies.set("other_console", cookie)
            assert (await client.get("/console")).status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8080"},
        {"Sec-Fetch-Site": "same-site", "Origin": _AT_HOME},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_pages_of_other_origins_cannot_act(
    browser: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    answer = await browser.post("/console/sign-in", data={"name": "ann"}, headers=headers)
    slug = "cross-origin-request"
    assert answer.status_code == 403
    assert f'href="/problems/{slug}"' in answer.text
    assert "set-cookie" not in answer.headers


async def test_errors_are_pages_and_parts_of_pages(browser: httpx.AsyncClient) -> None:
    answer = await browser.get("/console/missing")
    assert answer.status_code == 404
    assert "there is no &lt;b&gt;such&lt;/b&gt; account" in answer.text
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "'unsafe" not in answer.headers["content-security-policy"]
    part = await browser.get("/console/missing", headers={"HX-Request": "true"})
    assert part.text.startswith('<div class="problem">')
    answer = await browser.get("/console", headers={"HX-Request": "true"})
    assert answer.headers["hx-redirect"] == "/console/sign-in"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("name=ann&name=bob", 422),
        ("name=ann&other=1", 422),
        ("note=1", 422),
        ("name=%FF", 422),
        ("&".join(f"n{number}=1" for number in range(101)), 422),
        ("name=ann&note=", 303),
    ],
)
async def test_forms_are_read_strictly(browser: httpx.AsyncClient, body: str, status: int) -> None:
    headers = {**_OURS, "Content-Type": "application/x-www-form-urlencoded"}
    answer = await browser.post("/console/sign-in", content=body, headers=headers)
    assert answer.status_code == status
    answer = await browser.post("/console/sign-in", json={"name": "ann"}, headers=_OURS)
    assert answer.status_code == 415


async def test_files_are_kept_by_an_address_that_names_their_content(
    browser: httpx.AsyncClient,
) -> None:
    assets = Pages("freehold.console", title="", sections=[]).assets
    for name in ("htmx-2.min.js", "console.js", "console.css", "icon.svg"):
        answer = await browser.get(assets.address(name))
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
    with pytest.raises(KeyError):
        assets.address("other.js")


def test_a_sign_in_leads_back_to_the_console_only() -> None:
    assert return_path("/console/accounts/a?x=1") == "/console/accounts/a?x=1"
    for foreign in ("//evil.example/console", "https://evil.example", "/\\evil", "/v1/x", ""):
        assert return_path(foreign) == "/console"
