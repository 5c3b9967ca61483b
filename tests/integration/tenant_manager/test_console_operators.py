"""The console's pages of operators and of the audit log, and signing in at an identity provider."""

import asyncio
import functools
import json
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from playwright.async_api import Browser, expect

from integration.tenant_manager.consoles import SAME_ORIGIN, origin_of, serving, signed_in, visiting
from integration.tenant_manager.installation import Installation, client_of, running
from support.browser import page_at
from support.operators import acts, make_operator
from support.waiting import eventually


@pytest.fixture
async def issuer() -> AsyncIterator[str]:
    """A real identity provider, which knows two people."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    people = [{"sub": "jane", "groups": ["sre", "staff"]}, {"sub": "joe", "groups": ["staff"]}]
    claims = [word for one in people for word in ("--user-claims", json.dumps(one))]
    words = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), *claims]
    issuer = f"http://localhost:{port}"
    process = await asyncio.create_subprocess_exec(*words, stderr=subprocess.DEVNULL)
    try:
        async with httpx.AsyncClient() as client:
            await eventually(
                functools.partial(_answers, client, issuer), "the identity provider answers"
            )
        yield issuer
    finally:
        process.terminate()
        await process.wait()


async def _answers(client: httpx.AsyncClient, issuer: str) -> bool:
    try:
        return (await client.get(f"{issuer}/jwks")).status_code == 200
    except httpx.TransportError:
        return False


async def test_operators_are_made_and_revoked_and_the_log_shows_it(
    app: FastAPI, manager: httpx.AsyncClient
) -> None:
    made = await make_operator(manager, "viewer")
    path = f"/console/operators/{made['name']}"
    async with signed_in(app, manager, "owner") as console:
        page = await console.get("/console/operators")
        assert made["name"] in page.text
        rotated = await console.post(
            f"{path}/rotate", data={"confirm": made["name"]}, headers=SAME_ORIGIN
        )
        assert rotated.status_code == 201
        assert re.search("fo_[0-9a-f]{16}_[0-9a-f]{64}", rotated.text)
        refused = await console.post(f"{path}/revoke", data={"confirm": "x"}, headers=SAME_ORIGIN)
        assert refused.status_code == 422
        revoked = await console.post(
            f"{path}/revoke", data={"confirm": made["name"]}, headers=SAME_ORIGIN
        )
        assert revoked.status_code == 303
        log = await console.get("/console/audit-log", params={"act": "revoke_operator"})
        assert made["name"] in log.text
        found = await console.get("/console/audit-log/verification")
        assert "whole and unchanged" in found.text
        assert (await console.get("/console/audit-log/export")).text.endswith("}\n")
    async with signed_in(app, manager, "operator") as console:
        refused = await console.post(f"{path}/revoke", data={}, headers=SAME_ORIGIN)
        assert refused.status_code == 403


async def test_people_sign_in_at_the_identity_provider_by_their_groups(
    installation: Installation, issuer: str
) -> None:
    settings = installation.settings(**_provided(issuer, "http://127.0.0.1"))
    async with (
        httpx.AsyncClient() as provider,
        running(settings) as app,
        client_of(app) as manager,
        visiting(app) as console,
    ):
        entered = await _back_from(provider, console, "jane")
        assert entered.status_code == 200, entered.text
        assert "oidc:jane, operator" in (await console.get("/console/operators")).text
        (entry,) = [one for one in await acts(manager) if one["phase"] == "ended"]
        assert (entry["act"], entry["operator"]) == ("sign_in", "oidc:jane")
        assert entry["details"] == {"subject": "jane"}
        # What brought jane in brings nobody else in.
        again = await console.get(str(entered.request.url))
        assert again.status_code == 401
        refused = await _back_from(provider, console, "joe")
        assert refused.status_code == 403
        assert "none of your groups" in refused.text


async def test_a_session_of_the_provider_ends_with_the_settings_that_let_it_in(
    installation: Installation, issuer: str
) -> None:
    known = _provided(issuer, "http://127.0.0.1")
    async with (
        httpx.AsyncClient() as provider,
        running(installation.settings(**known)) as app,
        visiting(app) as console,
    ):
        await _back_from(provider, console, "jane")
        assert (await console.get("/console/tenants")).status_code == 200
        cookies = console.cookies
    without_her = {**known, "oidc_roles": "admins=owner"}
    async with running(installation.settings(**without_her)) as app, visiting(app) as console:
        console.cookies = cookies
        refused = await console.get("/console/tenants")
        assert (refused.status_code, refused.headers["location"]) == (
            303,
            "/console/sign-in?next=/console/tenants",
        )


async def test_a_browser_comes_back_from_a_provider_of_another_site(
    installation: Installation, issuer: str, browser: Browser
) -> None:
    # localhost and 127.0.0.1 are two sites: the session's cookie must survive the way back.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        origin = origin_of(listener)
        settings = installation.settings(**_provided(issuer, origin))
        async with running(settings) as app, serving(app, listener):
            async with page_at(browser, f"{origin}/console/audit-log?act=sign_in") as page:
                await page.get_by_role("link", name="identity provider").click()
                await page.wait_for_url(f"{issuer}/**")
                await page.get_by_role("button", name="jane").click()
                await page.wait_for_url(f"{origin}/console/audit-log?act=sign_in")
                await expect(page.get_by_role("banner")).to_contain_text("oidc:jane, operator")
                await expect(page.get_by_role("table")).to_contain_text("oidc:jane")
                await page.get_by_role("button", name="Sign out").click()
                await page.wait_for_url(f"{origin}/console/sign-in")
            async with page_at(browser, f"{origin}/console") as page:
                await page.get_by_role("link", name="identity provider").click()
                await page.get_by_role("button", name="Deny").click()
                await page.wait_for_url(f"{origin}/console/sign-in/oidc/callback?**")
                await expect(page.locator("main")).to_contain_text("access_denied")


def _provided(issuer: str, origin: str) -> dict[str, Any]:
    """Give the settings of a console that knows the identity provider."""
    return {
        "console_url": origin,
        "oidc_issuer": issuer,
        "oidc_client_id": "freehold",
        "oidc_client_secret": "of-the-client",
        "oidc_roles": "sre=operator",
    }


async def _back_from(
    provider: httpx.AsyncClient, console: httpx.AsyncClient, person: str
) -> httpx.Response:
    """Sign in at the provider as a person, and come back."""
    left = await console.get("/console/sign-in/oidc")
    assert left.status_code == 303, left.text
    assert "code_challenge=" in left.headers["location"]
    answer = await provider.post(left.headers["location"], data={"sub": person})
    assert answer.status_code == 302, answer.text
    return await console.get(answer.headers["location"])
