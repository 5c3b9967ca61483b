from typing import Any

import httpx
import pytest

from freehold.http.cursors import Cursors
from integration.tenant_manager.installation import make_tenant, new_tenant
from support.answers import pointers, problem

ROUTES = [
    ("POST", "/v1/tenants"),
    ("GET", "/v1/tenants"),
    ("GET", "/v1/tenants?limit=0"),
    ("GET", "/v1/tenants/acme"),
    ("PUT", "/v1/tenants/acme/limits"),
    ("POST", "/v1/tenants/acme/api-keys"),
    ("GET", "/v1/tenants/acme/api-keys"),
    ("DELETE", "/v1/tenants/acme/api-keys/0123456789abcdef"),
    ("GET", "/v1/regions"),
]

BAD_FIELDS: dict[str, list[Any]] = {
    "tenant_id": [
        *("A", "a", "Acme", "1acme", "-acme", "ac_me", "ac me", "acme\n", "a\u0441me"),
        *("a" * 64, "", 7, None),
    ],
    "name": ["", "x" * 201, "a\u0000b", "a\nb", 7],
    "region": ["nowhere", "", None],
    "isolation": ["schema", "Database", None],
    "colour": ["red"],
}

BAD_KEYS: list[tuple[dict[str, Any], str]] = [
    ({}, "/scopes"),
    ({"scopes": []}, "/scopes"),
    ({"scopes": None}, "/scopes"),
    ({"scopes": "read"}, "/scopes"),
    ({"scopes": ["write"]}, "/scopes/0"),
    ({"scopes": ["read", "READ"]}, "/scopes/1"),
    ({"scopes": ["read", "read"]}, "/scopes"),
    *(
        ({"scopes": ["read"], "expires_at": expires_at}, "/expires_at")
        for expires_at in (
            *("2020-01-01T00:00:00Z", "tomorrow", "2126-03-01", "2126-03-01T12:00:00"),
            *("9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59.999999Z", "9999-01-01T00:00:00Z"),
            *("9998-12-31T23:00:00-01:00", "0001-01-01T00:00:00+12:00", 4928083200),
        )
    ),
    ({"scopes": ["read"], "key_id": "0123456789abcdef"}, "/key_id"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "credential",
    ["", "Bearer wrong", "Bearer \u00fcn\u00efcode", "Basic b3A6b3A=", "Bearer ", "Bearer"],
)
async def test_only_the_operator_passes(
    manager: httpx.AsyncClient, method: str, path: str, credential: str
) -> None:
    answer = await manager.request(
        method, path, headers={b"Authorization": credential.encode()}, content=b"not JSON"
    )
    problem(answer, "unauthorized")


async def test_a_tenants_key_is_no_operators_token(manager: httpx.AsyncClient) -> None:
    key = (await manager.post("/v1/tenants", json=new_tenant())).json()["api_key"]
    answer = await manager.get("/v1/tenants", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field in BAD_FIELDS for value in BAD_FIELDS[field]]
)
async def test_bad_tenants_are_refused(
    manager: httpx.AsyncClient, field: str, value: object
) -> None:
    answer = await manager.post("/v1/tenants", json=new_tenant(**{field: value}))
    assert pointers(answer) == [f"/{field}"]


@pytest.mark.parametrize("field", ["tenant_id", "name"])
async def test_id_and_name_are_required(manager: httpx.AsyncClient, field: str) -> None:
    wanted = new_tenant()
    del wanted[field]
    assert pointers(await manager.post("/v1/tenants", json=wanted)) == [f"/{field}"]


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


@pytest.mark.parametrize("what", ["suspend", "resume", "backups", "verify"])
async def test_what_asks_for_nothing_more_takes_nothing_more(
    manager: httpx.AsyncClient, tenant_id: str, what: str
) -> None:
    path = f"/v1/tenants/{tenant_id}/{what}"
    assert pointers(await manager.post(path, json={"until": "tomorrow"})) == ["/until"]
    assert pointers(await manager.post(path, json=[])) == [""]
    xml = await manager.post(path, content=b"<a/>", headers={"Content-Type": "application/xml"})
    assert xml.status_code == 415
    for bare in (b"", b"{}"):
        assert (await manager.post(path, content=bare)).status_code in {200, 202}


@pytest.mark.parametrize(("body", "pointer"), BAD_KEYS)
async def test_bad_keys_are_refused(
    manager: httpx.AsyncClient, tenant_id: str, body: dict[str, Any], pointer: str
) -> None:
    assert pointers(await manager.post(f"/v1/tenants/{tenant_id}/api-keys", json=body)) == [pointer]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"name": "\\ud800"}', b"[" * 10_000])
@pytest.mark.parametrize("path", ["/v1/tenants", "/v1/tenants/acme/api-keys"])
async def test_what_is_not_json_is_refused(
    manager: httpx.AsyncClient, path: str, body: bytes
) -> None:
    answer = await manager.post(path, content=body)
    problem(answer, "malformed-json")


@pytest.mark.parametrize("body", [b"[]", b"null", b'"acme"', b"7"])
async def test_json_that_is_no_object_is_refused(manager: httpx.AsyncClient, body: bytes) -> None:
    assert pointers(await manager.post("/v1/tenants", content=body)) == [""]


async def test_a_large_body_is_refused(manager: httpx.AsyncClient) -> None:
    answer = await manager.post("/v1/tenants", json=new_tenant(name="x" * 100_000))
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("query_string", "pointer"),
    [
        ("limit=0", "/limit"),
        ("limit=1001", "/limit"),
        ("limit=ten", "/limit"),
        ("limit=-1", "/limit"),
        ("limit=", "/limit"),
        ("limit=1.0", "/limit"),
        ("limit=1_0", "/limit"),
        ("limit=%205", "/limit"),
        ("limit=5%20", "/limit"),
        ("limit=+5", "/limit"),
        ("limit=%2B5", "/limit"),
        ("limit=\u0663", "/limit"),
        ("limit=1&limit=2", "/limit"),
        ("cursor=%25", "/cursor"),
        ("cursor=AA", "/cursor"),
        ("cursor=\N{SNOWMAN}", "/cursor"),
        ("cursor=", "/cursor"),
        ("cursor=%00", "/cursor"),
        ("cursor=WyJhIl0", "/cursor"),
        ("cursor=YWNtZQ", "/cursor"),
        ("cursor=" + "a" * 5000, "/cursor"),
        ("Limit=1", "/Limit"),
        ("offset=1", "/offset"),
        ("status=active&status=active", "/status"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/tenants", "/v1/tenants/{}/api-keys", "/v1/regions"])
async def test_bad_pages_are_refused(
    manager: httpx.AsyncClient, tenant_id: str, path: str, query_string: str, pointer: str
) -> None:
    assert pointers(await manager.get(f"{path.format(tenant_id)}?{query_string}")) == [pointer]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/tenants"),
        ("GET", "/v1/tenants/{}"),
        ("PUT", "/v1/tenants/{}/limits"),
        ("POST", "/v1/tenants/{}/api-keys"),
        ("DELETE", "/v1/tenants/{}/api-keys/{}"),
    ],
)
@pytest.mark.parametrize("query_string", ["limit=1", "dry_run=true", "x=1&x=2", "="])
async def test_routes_without_parameters_refuse_them_all(
    manager: httpx.AsyncClient, tenant_id: str, method: str, path: str, query_string: str
) -> None:
    """And do nothing."""
    keys = f"/v1/tenants/{tenant_id}/api-keys"
    before = (await manager.get(keys)).json()
    answer = await manager.request(
        method,
        f"{path.format(tenant_id, before['data'][0]['key_id'])}?{query_string}",
        json={"scopes": ["read"]} if method == "POST" else None,
    )
    assert pointers(answer) == [f"/{query_string.partition('=')[0]}"]
    assert (await manager.get(keys)).json() == before


async def test_a_cursor_is_good_for_its_list_only_and_as_it_is(
    manager: httpx.AsyncClient, tenant_id: str
) -> None:
    other_id = await make_tenant(manager)
    tenants, keys, others_keys = (
        "/v1/tenants",
        f"/v1/tenants/{tenant_id}/api-keys",
        f"/v1/tenants/{other_id}/api-keys",
    )
    for path in (keys, others_keys):
        await manager.post(path, json={"scopes": ["read"]})
    cursors = {
        path: (await manager.get(path, params={"limit": "1"})).json()["next_cursor"]
        for path in (tenants, keys, others_keys)
    }
    for path, cursor in cursors.items():
        followed = await manager.get(path, params={"limit": "1000", "cursor": cursor})
        assert followed.status_code == 200
        tampered = [cursor[:-1], cursor + "A", cursor + "=", " " + cursor, cursor + "\n"] + [
            cursor[:place] + ("B" if character == "A" else "A") + cursor[place + 1 :]
            for place, character in enumerate(cursor)
        ]
        foreign = [cursors[other] for other in cursors if other != path]
        for bad in (*tampered, *foreign):
            assert pointers(await manager.get(path, params={"cursor": bad})) == ["/cursor"]


@pytest.mark.parametrize("place", [[], ["acme\x00"], ["Acme"], ["acme", "acme"], [""]])
async def test_a_forged_cursor_is_refused(manager: httpx.AsyncClient, place: list[str]) -> None:
    """Even one whose checksum is right, as anyone may compute it."""
    forged = Cursors("tenants").write(*place)
    assert pointers(await manager.get("/v1/tenants", params={"cursor": forged})) == ["/cursor"]


@pytest.mark.parametrize("tenant", ["unknown", "Unknown", "%00", "a%00b", "..", "a'b", "x" * 300])
@pytest.mark.parametrize("path", ["", "/api-keys"])
async def test_unknown_tenants_are_not_found(
    manager: httpx.AsyncClient, tenant: str, path: str
) -> None:
    answer = await manager.get(f"/v1/tenants/{tenant}{path}")
    problem(answer, "not-found")


async def test_unknown_tenants_have_no_keys(manager: httpx.AsyncClient) -> None:
    keys = "/v1/tenants/unknown/api-keys"
    assert (await manager.post(keys, json={"scopes": ["read"]})).status_code == 404
    assert (await manager.delete(f"{keys}/0123456789abcdef")).status_code == 404


@pytest.mark.parametrize("key", ["0123456789abcdef", "0", "%00", "0123456789ABCDEF"])
async def test_unknown_keys_are_not_found(
    manager: httpx.AsyncClient, tenant_id: str, key: str
) -> None:
    answer = await manager.delete(f"/v1/tenants/{tenant_id}/api-keys/{key}")
    problem(answer, "not-found")


async def test_other_methods_are_not_allowed(manager: httpx.AsyncClient) -> None:
    answer = await manager.put("/v1/tenants", json={})
    problem(answer, "method-not-allowed")


async def test_the_documentation_names_every_route(manager: httpx.AsyncClient) -> None:
    document = (await manager.get("/openapi.json")).json()
    assert set(document["paths"]) >= {
        "/v1/tenants",
        "/v1/tenants/{tenant_id}",
        "/v1/tenants/{tenant_id}/limits",
        "/v1/tenants/{tenant_id}/api-keys",
        "/v1/tenants/{tenant_id}/api-keys/{key_id}",
        "/v1/regions",
    }
    for path in ("/v1/tenants", "/v1/tenants/{tenant_id}/api-keys", "/v1/regions"):
        parameters = {p["name"] for p in document["paths"][path]["get"]["parameters"]}
        assert parameters >= {"limit", "cursor"}
    assert document["components"]["schemas"]["NewTenant"]["required"] == ["tenant_id", "name"]
