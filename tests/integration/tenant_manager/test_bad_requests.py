from typing import Any

import httpx
import pytest

from integration.tenant_manager.installation import new_tenant

PAST = "2020-01-01T00:00:00Z"

ROUTES = [
    ("POST", "/v1/tenants"),
    ("GET", "/v1/tenants"),
    ("GET", "/v1/tenants?limit=0"),
    ("GET", "/v1/tenants/acme"),
    ("POST", "/v1/tenants/acme/api-keys"),
    ("GET", "/v1/tenants/acme/api-keys"),
    ("DELETE", "/v1/tenants/acme/api-keys/0123456789abcdef"),
    ("GET", "/v1/regions"),
]

BAD_TENANTS: list[tuple[dict[str, Any], str]] = [
    ({"tenant_id": "A"}, "/tenant_id"),
    ({"tenant_id": "a"}, "/tenant_id"),
    ({"tenant_id": "Acme"}, "/tenant_id"),
    ({"tenant_id": "1acme"}, "/tenant_id"),
    ({"tenant_id": "-acme"}, "/tenant_id"),
    ({"tenant_id": "ac_me"}, "/tenant_id"),
    ({"tenant_id": "ac me"}, "/tenant_id"),
    ({"tenant_id": "acme\n"}, "/tenant_id"),
    ({"tenant_id": "a\u0441me"}, "/tenant_id"),
    ({"tenant_id": "a" * 64}, "/tenant_id"),
    ({"tenant_id": ""}, "/tenant_id"),
    ({"tenant_id": 7}, "/tenant_id"),
    ({"tenant_id": None}, "/tenant_id"),
    ({"name": ""}, "/name"),
    ({"name": "x" * 201}, "/name"),
    ({"name": "a\u0000b"}, "/name"),
    ({"name": "a\nb"}, "/name"),
    ({"name": 7}, "/name"),
    ({"region": "nowhere"}, "/region"),
    ({"region": ""}, "/region"),
    ({"region": None}, "/region"),
    ({"isolation": "schema"}, "/isolation"),
    ({"isolation": "Database"}, "/isolation"),
    ({"isolation": None}, "/isolation"),
    ({"colour": "red"}, "/colour"),
]

BAD_KEYS: list[tuple[dict[str, Any], str]] = [
    ({}, "/scopes"),
    ({"scopes": []}, "/scopes"),
    ({"scopes": None}, "/scopes"),
    ({"scopes": "read"}, "/scopes"),
    ({"scopes": ["write"]}, "/scopes/0"),
    ({"scopes": ["read", "READ"]}, "/scopes/1"),
    ({"scopes": ["read", "read"]}, "/scopes"),
    ({"scopes": ["read"], "expires_at": PAST}, "/expires_at"),
    ({"scopes": ["read"], "expires_at": "tomorrow"}, "/expires_at"),
    ({"scopes": ["read"], "expires_at": "2126-03-01"}, "/expires_at"),
    ({"scopes": ["read"], "expires_at": "2126-03-01T12:00:00"}, "/expires_at"),
    ({"scopes": ["read"], "expires_at": "9999-12-31T23:59:59-12:00"}, "/expires_at"),
    ({"scopes": ["read"], "expires_at": 4928083200}, "/expires_at"),
    ({"scopes": ["read"], "key_id": "0123456789abcdef"}, "/key_id"),
]


@pytest.fixture(scope="module")
async def tenant_id(manager: httpx.AsyncClient) -> str:
    wanted = new_tenant()
    await manager.post("/v1/tenants", json=wanted)
    return str(wanted["tenant_id"])


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize("credential", ["", "Bearer wrong", "Basic b3A6b3A=", "Bearer ", "Bearer"])
async def test_only_the_operator_passes(
    manager: httpx.AsyncClient, method: str, path: str, credential: str
) -> None:
    answer = await manager.request(
        method, path, headers={"Authorization": credential}, content=b"not JSON"
    )
    assert answer.status_code == 401
    assert answer.json()["type"] == "/problems/unauthorized"
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_tenants_key_is_no_operators_token(manager: httpx.AsyncClient) -> None:
    key = (await manager.post("/v1/tenants", json=new_tenant())).json()["api_key"]
    answer = await manager.get("/v1/tenants", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 401


@pytest.mark.parametrize(("changes", "pointer"), BAD_TENANTS)
async def test_bad_tenants_are_refused(
    manager: httpx.AsyncClient, changes: dict[str, Any], pointer: str
) -> None:
    answer = await manager.post("/v1/tenants", json=new_tenant(**changes))
    _refuses(answer, pointer)


@pytest.mark.parametrize("field", ["tenant_id", "name"])
async def test_id_and_name_are_required(manager: httpx.AsyncClient, field: str) -> None:
    wanted = new_tenant()
    del wanted[field]
    _refuses(await manager.post("/v1/tenants", json=wanted), f"/{field}")


async def test_region_and_isolation_are_the_usual_where_left_out(
    manager: httpx.AsyncClient,
) -> None:
    wanted = new_tenant()
    del wanted["region"], wanted["isolation"]
    answer = await manager.post("/v1/tenants", json=wanted)
    assert answer.status_code == 201, answer.text
    made = answer.json()["tenant"]
    assert (made["region"], made["isolation"]) == ("local", "database")
    again = await manager.post("/v1/tenants", json={**wanted, "isolation": "database"})
    assert again.status_code == 200


async def test_the_longest_names_pass(manager: httpx.AsyncClient) -> None:
    wanted = new_tenant(name="\N{SNOWMAN}" * 200)
    wanted["tenant_id"] = wanted["tenant_id"].ljust(63, "-")
    assert (await manager.post("/v1/tenants", json=wanted)).status_code == 201
    assert (await manager.get(f"/v1/tenants/{wanted['tenant_id']}")).status_code == 200


@pytest.mark.parametrize(("body", "pointer"), BAD_KEYS)
async def test_bad_keys_are_refused(
    manager: httpx.AsyncClient, tenant_id: str, body: dict[str, Any], pointer: str
) -> None:
    _refuses(await manager.post(f"/v1/tenants/{tenant_id}/api-keys", json=body), pointer)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"name": "\\ud800"}', b"[" * 10_000])
@pytest.mark.parametrize("path", ["/v1/tenants", "/v1/tenants/acme/api-keys"])
async def test_what_is_not_json_is_refused(
    manager: httpx.AsyncClient, path: str, body: bytes
) -> None:
    answer = await manager.post(path, content=body)
    assert answer.status_code == 400
    assert answer.json()["type"] == "/problems/malformed-json"


@pytest.mark.parametrize("body", [b"[]", b"null", b'"acme"', b"7"])
async def test_json_that_is_no_object_is_refused(manager: httpx.AsyncClient, body: bytes) -> None:
    _refuses(await manager.post("/v1/tenants", content=body), "")


async def test_a_large_body_is_refused(manager: httpx.AsyncClient) -> None:
    answer = await manager.post("/v1/tenants", json=new_tenant(name="x" * 100_000))
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("parameters", "pointer"),
    [
        ({"limit": "0"}, "/limit"),
        ({"limit": "1001"}, "/limit"),
        ({"limit": "ten"}, "/limit"),
        ({"limit": "-1"}, "/limit"),
        ({"cursor": "%"}, "/cursor"),
        ({"cursor": "AA"}, "/cursor"),
        ({"cursor": "\N{SNOWMAN}"}, "/cursor"),
        ({"cursor": ""}, "/cursor"),
    ],
)
@pytest.mark.parametrize("keys", [False, True])
async def test_bad_pages_are_refused(
    manager: httpx.AsyncClient, tenant_id: str, parameters: dict[str, str], pointer: str, keys: bool
) -> None:
    path = f"/v1/tenants/{tenant_id}/api-keys" if keys else "/v1/tenants"
    _refuses(await manager.get(path, params=parameters), pointer)


@pytest.mark.parametrize("tenant", ["unknown", "Unknown", "%00", "a%00b", "..", "a'b", "x" * 300])
@pytest.mark.parametrize("path", ["", "/api-keys"])
async def test_unknown_tenants_are_not_found(
    manager: httpx.AsyncClient, tenant: str, path: str
) -> None:
    answer = await manager.get(f"/v1/tenants/{tenant}{path}")
    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/not-found"


async def test_unknown_tenants_get_no_keys(manager: httpx.AsyncClient) -> None:
    answer = await manager.post("/v1/tenants/unknown/api-keys", json={"scopes": ["read"]})
    assert answer.status_code == 404


@pytest.mark.parametrize("key", ["0123456789abcdef", "0", "%00", "0123456789ABCDEF"])
async def test_unknown_keys_are_not_found(
    manager: httpx.AsyncClient, tenant_id: str, key: str
) -> None:
    answer = await manager.delete(f"/v1/tenants/{tenant_id}/api-keys/{key}")
    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/not-found"


async def test_other_methods_are_not_allowed(manager: httpx.AsyncClient) -> None:
    answer = await manager.put("/v1/tenants", json={})
    assert answer.status_code == 405
    assert answer.json()["type"] == "/problems/method-not-allowed"


async def test_the_documentation_names_every_route(manager: httpx.AsyncClient) -> None:
    document = (await manager.get("/openapi.json")).json()
    assert set(document["paths"]) >= {
        "/v1/tenants",
        "/v1/tenants/{tenant_id}",
        "/v1/tenants/{tenant_id}/api-keys",
        "/v1/tenants/{tenant_id}/api-keys/{key_id}",
        "/v1/regions",
    }
    assert document["components"]["schemas"]["NewTenant"]["required"] == [
        "tenant_id",
        "name",
    ]


def _refuses(answer: httpx.Response, pointer: str) -> None:
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "/problems/validation-failed"
    assert pointer in {error["pointer"] for error in answer.json()["errors"]}
