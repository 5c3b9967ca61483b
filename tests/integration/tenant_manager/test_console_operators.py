"""The console's pages of operators and of the audit log, and signing in at an identity provider."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest
from fastapi import FastAPI

from integration.tenant_manager.consoles import SAME_ORIGIN, signed_in, visiting
from integration.tenant_manager.installation import Installation, client_of, running
from support.operators import acts, make_operator
from support.waiting import eventually


@pytest.fixture
def issuer() -> Iterator[str]:
    """A real identity provider, which knows two people."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    people = [{"sub": "jane", "groups": ["sre", "staff"]}, {"sub": "joe", "groups": ["staff"]}]
    claims = [word for one in people for word in ("--user-claims", json.dumps(one))]
    words = [sys.executable, "-m", "oidc_provider_mock", "--port", str(port), *claims]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        yield f"http://127.0.0.1:{port}"
        process.terminate()


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
    settings = installation.settings(
        console_url="http://127.0.0.1",
        oidc_issuer=issuer,
        oidc_client_id="freehold",
        oidc_client_secret="of-the-client",
        oidc_roles="sre=operator",
    )
    async with httpx.AsyncClient() as provider:

        async def answers() -> bool:
            try:
                return (await provider.get(f"{issuer}/jwks")).status_code == 200
            except httpx.TransportError:
                return False

        await eventually(answers, "the identity provider answers")
        async with running(settings) as app, client_of(app) as manager, visiting(app) as console:
            entered = await _back_from(provider, console, "jane")
            assert entered.status_code == 200, entered.text
            assert "oidc:jane, operator" in (await console.get("/console/operators")).text
            (entry,) = [one for one in await acts(manager) if one["phase"] == "ended"]
            assert (entry["act"], entry["operator"]) == ("sign_in", "oidc:jane")
            # What brought jane in brings nobody else in.
            again = await console.get(str(entered.request.url))
            assert again.status_code == 401
            refused = await _back_from(provider, console, "joe")
            assert refused.status_code == 403
            assert "none of your groups" in refused.text


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
