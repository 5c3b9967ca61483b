"""A ticket of query's console is worth one tenant's export, for a minute, while its key works."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from freehold.security.api_keys import parse_api_key
from freehold.security.export_tickets import ExportTicket, ExportTickets
from freehold.security.key_ring import KeyRing
from integration.tenant_manager.installation import CREDENTIAL_KEYS
from integration.tenant_manager.ledgers import filled_tenant
from support.answers import problem

TICKETS = ExportTickets(KeyRing(CREDENTIAL_KEYS))


@pytest.fixture(scope="module")
async def filled(app: FastAPI, manager: httpx.AsyncClient) -> tuple[str, str]:
    """A tenant with events, and the id of their key."""
    tenant_id, text = await filled_tenant(app, manager, events=5)
    key = parse_api_key(text)
    assert key is not None
    return tenant_id, key.key_id


async def ask(manager: httpx.AsyncClient, ticket: str) -> httpx.Response:
    """Send the form as a browser does, which knows no operator."""
    return await manager.post(
        "/v1/export/by-ticket", data={"ticket": ticket}, headers={"Authorization": ""}
    )


async def test_a_ticket_is_worth_the_whole_ledger(
    manager: httpx.AsyncClient, filled: tuple[str, str]
) -> None:
    answer = await ask(manager, TICKETS.sign(ExportTicket(*filled)))
    assert answer.status_code == 200
    assert answer.headers["content-disposition"].startswith(f'attachment; filename="{filled[0]}-')
    assert b"CREATE FUNCTION ledger.verify(" in answer.content


async def test_a_ticket_is_worth_nothing_without_its_key(
    manager: httpx.AsyncClient, filled: tuple[str, str], tenant_id: str
) -> None:
    own, key_id = filled
    # Another tenant's, an unknown one, none at all.
    for ticket in (ExportTicket(tenant_id, key_id), ExportTicket(own, "0" * 16)):
        problem(await ask(manager, TICKETS.sign(ticket)), "unauthorized")
    refused = await ask(manager, "x")
    problem(refused, "unauthorized")
    assert "prepare it again" in refused.json()["detail"]
    path = f"/v1/tenants/{own}/api-keys"
    reading = (await manager.post(path, json={"scopes": ["read"]})).json()["key_id"]
    problem(await ask(manager, TICKETS.sign(ExportTicket(own, reading))), "missing-scope")
    leaving = (await manager.post(path, json={"scopes": ["export"]})).json()["key_id"]
    (await manager.delete(f"{path}/{leaving}")).raise_for_status()
    problem(await ask(manager, TICKETS.sign(ExportTicket(own, leaving))), "unauthorized")


async def test_other_bodies_are_refused(manager: httpx.AsyncClient) -> None:
    problem(
        await manager.post("/v1/export/by-ticket", data={"ticket": "x" * 5_000}), "body-too-large"
    )
    problem(
        await manager.post("/v1/export/by-ticket", data={"ticket": "x" * 2_049}),
        "validation-failed",
    )
    problem(await manager.post("/v1/export/by-ticket", data={"other": "x"}), "validation-failed")
    problem(
        await manager.post("/v1/export/by-ticket", json={"ticket": "x"}), "unsupported-media-type"
    )

    async def endless() -> AsyncIterator[bytes]:
        yield b"ticket="

    problem(await manager.post("/v1/export/by-ticket", content=endless()), "body-too-large")
