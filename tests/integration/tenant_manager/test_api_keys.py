from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from freehold.security.api_keys import parse_api_key
from freehold.tenants.directory import Caller
from freehold_tenant_manager.contracts.tenants import ApiKeyPage, CreatedApiKey
from freehold_tenant_manager.settings import Settings
from integration.tenant_manager.installation import Installation, make_tenant, new_tenant
from support.answers import problem


@pytest.fixture
async def keys(manager: httpx.AsyncClient) -> str:
    """The path of a new tenant's keys."""
    return f"/v1/tenants/{await make_tenant(manager)}/api-keys"


async def _caller(installation: Installation, settings: Settings, text: str) -> Caller | None:
    """Look a key up as a service does."""
    key = parse_api_key(text)
    assert key
    async with installation.directory(settings, "query") as directory:
        return await directory.caller(key)


async def test_a_key_is_made_and_shown_once(
    manager: httpx.AsyncClient, keys: str, installation: Installation, settings: Settings
) -> None:
    answer = await manager.post(keys, json={"scopes": ["read", "audit"]})
    assert answer.status_code == 201
    body = answer.json()
    CreatedApiKey.model_validate(body)
    assert set(body) == {"key_id", "api_key", "scopes", "label", "created_at", "expires_at"}
    assert body["scopes"] == ["read", "audit"]
    assert body["expires_at"] is None
    caller = await _caller(installation, settings, body["api_key"])
    assert caller is not None
    assert caller.scopes == {"read", "audit"}

    listed = await manager.get(keys)
    ApiKeyPage.model_validate(listed.json())
    entry = _entry(listed.json(), body["key_id"])
    assert set(entry) == {*body, "revoked_at"} - {"api_key"}
    secret = body["api_key"].split("_")[2]
    assert secret not in listed.text


async def test_a_key_has_a_label_that_rotation_keeps(manager: httpx.AsyncClient, keys: str) -> None:
    stated = {"scopes": ["read"], "label": "\u8cec\u7269 shop \U0001f6d2"}
    made = (await manager.post(keys, json=stated)).json()
    assert made["label"] == stated["label"]
    rotated = (await manager.post(f"{keys}/{made['key_id']}/rotate")).json()
    assert (rotated["label"], rotated["replaced"]["label"]) == (made["label"], made["label"])
    unnamed = (await manager.post(keys, json={"scopes": ["read"]})).json()
    assert unnamed["label"] is None
    listed = (await manager.get(keys)).json()
    for key in (made, rotated, unnamed):
        assert _entry(listed, key["key_id"])["label"] == key["label"]
    for label in ("", " ", "x" * 101, "a\nb", "\u202eevil", "\u200b", 7):
        for answer in (
            await manager.post(keys, json={"scopes": ["read"], "label": label}),
            await manager.put(f"{keys}/{made['key_id']}/label", json={"label": label}),
        ):
            assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/label")


async def test_a_label_is_set_later_and_removed(manager: httpx.AsyncClient, keys: str) -> None:
    made = (await manager.post(keys, json={"scopes": ["read"]})).json()
    path = f"{keys}/{made['key_id']}"
    for label in ("web shop", "web shop", None):
        answer = await manager.put(f"{path}/label", json={"label": label})
        assert answer.status_code == 200, answer.text
        assert answer.json() == _entry((await manager.get(keys)).json(), made["key_id"])
        assert answer.json()["label"] == label
    # Who looks a key up in the list finds revoked ones, too.
    await manager.delete(path)
    assert (await manager.put(f"{path}/label", json={"label": "old"})).status_code == 200
    problem(await manager.put(f"{path}/label", json={}), "validation-failed")
    other = f"/v1/tenants/{await make_tenant(manager)}/api-keys/{made['key_id']}"
    for unknown in (other, f"{keys}/{'0' * 16}"):
        problem(await manager.put(f"{unknown}/label", json={"label": "x"}), "not-found")
    answer = await manager.post(keys, json={"label": "no scope"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/scopes")


async def test_a_key_may_expire(
    manager: httpx.AsyncClient, keys: str, installation: Installation, settings: Settings
) -> None:
    expires_at = datetime.now(UTC) + timedelta(days=400)
    stated = {"scopes": ["read"], "expires_at": expires_at.isoformat()}
    body = (await manager.post(keys, json=stated)).json()
    assert body["expires_at"] == expires_at.isoformat(timespec="microseconds")[:26] + "Z"
    caller = await _caller(installation, settings, body["api_key"])
    assert caller is not None


async def test_a_key_may_expire_at_the_latest_time_there_is(
    manager: httpx.AsyncClient, keys: str, installation: Installation, settings: Settings
) -> None:
    stated = {"scopes": ["read"], "expires_at": "9998-12-31T23:59:59.999999Z"}
    body = (await manager.post(keys, json=stated)).json()
    assert body["expires_at"] == stated["expires_at"]
    assert (
        _entry((await manager.get(keys)).json(), body["key_id"])["expires_at"]
        == (stated["expires_at"])
    )
    assert await _caller(installation, settings, body["api_key"])


@pytest.mark.parametrize(("expires_at", "works"), [("infinity", True), ("-infinity", False)])
async def test_an_endless_time_in_the_catalog_is_understood(
    manager: httpx.AsyncClient,
    keys: str,
    installation: Installation,
    settings: Settings,
    expires_at: str,
    works: bool,
) -> None:
    body = (await manager.post(keys, json={"scopes": ["read"]})).json()
    async with installation.superuser(settings.catalog_name) as catalog:
        await catalog.execute(
            "UPDATE catalog.api_keys SET expires_at = $2::text::timestamptz WHERE key_id = $1",
            body["key_id"],
            expires_at,
        )
    assert (await _caller(installation, settings, body["api_key"]) is not None) is works
    assert (await manager.get(keys)).status_code == 200


async def test_answers_with_a_key_may_not_be_cached(manager: httpx.AsyncClient, keys: str) -> None:
    wanted = new_tenant()
    made = await manager.post("/v1/tenants", json=wanted)
    created = await manager.post(keys, json={"scopes": ["read"]})
    for answer in (made, created):
        assert answer.status_code == 201
        assert answer.headers["cache-control"] == "no-store"


async def test_a_revoked_key_stops_working_and_stays_listed(
    manager: httpx.AsyncClient, keys: str, installation: Installation, settings: Settings
) -> None:
    body = (await manager.post(keys, json={"scopes": ["ingest"]})).json()
    path = f"{keys}/{body['key_id']}"
    assert (await manager.delete(path)).status_code == 204
    revoked = _entry((await manager.get(keys)).json(), body["key_id"])
    assert revoked["revoked_at"] is not None
    assert await _caller(installation, settings, body["api_key"]) is None

    assert (await manager.delete(path)).status_code == 204
    assert _entry((await manager.get(keys)).json(), body["key_id"]) == revoked


async def test_the_list_has_every_key_once_and_the_oldest_first(
    manager: httpx.AsyncClient, keys: str
) -> None:
    for _ in range(4):
        await manager.post(keys, json={"scopes": ["read"]})
    listed: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        parameters = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        answer = (await manager.get(keys, params=parameters)).json()
        listed += answer["data"]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    assert len({key["key_id"] for key in listed}) == len(listed) == 5
    assert [key["created_at"] for key in listed] == sorted(key["created_at"] for key in listed)


def _entry(page: dict[str, Any], key_id: str) -> dict[str, Any]:
    (entry,) = (key for key in page["data"] if key["key_id"] == key_id)
    return dict(entry)
