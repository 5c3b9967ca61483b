"""What every service tells those who run it: health, metrics, documentation, request ids."""

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import jsonschema
import pytest
from prometheus_client.parser import text_string_to_metric_families
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from freehold.release import this_release
from support.answers import created, found, pointers, problem
from support.clients import Freehold, Tenant, event_body
from support.documents import Document, media_of, operations, resolved, validate
from support.funds import hold_body, leg

PUBLIC = {
    ("get", path) for path in ("/healthz", "/readyz", "/metrics", "/problems", "/problems/{slug}")
}
ROUTES = {
    "tenant-manager": {
        ("post", "/v1/tenants"),
        ("get", "/v1/tenants"),
        ("get", "/v1/tenants/{tenant_id}"),
        ("delete", "/v1/tenants/{tenant_id}"),
        ("put", "/v1/tenants/{tenant_id}/limits"),
        ("post", "/v1/tenants/{tenant_id}/api-keys"),
        ("get", "/v1/tenants/{tenant_id}/api-keys"),
        ("delete", "/v1/tenants/{tenant_id}/api-keys/{key_id}"),
        ("put", "/v1/tenants/{tenant_id}/api-keys/{key_id}/label"),
        ("post", "/v1/tenants/{tenant_id}/api-keys/{key_id}/rotate"),
        ("post", "/v1/tenants/{tenant_id}/api-keys/{key_id}/sign-in-links"),
        ("put", "/v1/tenants/{tenant_id}/api-keys/{key_id}/label"),
        ("get", "/v1/overview"),
        ("post", "/v1/tenants/{tenant_id}/suspend"),
        ("post", "/v1/tenants/{tenant_id}/resume"),
        ("get", "/v1/tenants/{tenant_id}/credentials"),
        ("post", "/v1/tenants/{tenant_id}/credentials/rotate"),
        ("get", "/v1/usage"),
        ("get", "/v1/tenants/{tenant_id}/usage"),
        ("get", "/v1/overview"),
        ("get", "/v1/regions"),
        ("get", "/v1/export"),
        ("post", "/v1/tenants/{tenant_id}/backups"),
        ("get", "/v1/tenants/{tenant_id}/backups"),
        ("get", "/v1/tenants/{tenant_id}/backups/{backup_id}"),
        ("post", "/v1/tenants/{tenant_id}/backups/{backup_id}/verify"),
        ("get", "/v1/tenants/{tenant_id}/export"),
        ("post", "/v1/tenants/{tenant_id}/verify"),
        ("post", "/v1/doorbells/redrive"),
        ("get", "/v1/operations"),
        ("get", "/v1/operations/{operation_id}"),
        ("post", "/v1/tenants/{tenant_id}/restores"),
        ("get", "/v1/tenants/{tenant_id}/former-databases"),
        ("delete", "/v1/tenants/{tenant_id}/former-databases/{name}"),
        ("post", "/v1/operators"),
        ("get", "/v1/operators"),
        ("get", "/v1/me"),
        ("delete", "/v1/operators/{operator_name}"),
        ("post", "/v1/operators/{operator_name}/rotate"),
        ("get", "/v1/operator-acts"),
        ("get", "/v1/operator-acts/export"),
        ("get", "/v1/operator-acts/verify"),
        ("post", "/v1/migrations"),
        ("get", "/v1/migrations"),
    },
    "ingest": {
        ("post", "/v1/events"),
        ("post", "/v1/events/batch"),
        ("post", "/v1/events/{event_id}/reversal"),
        ("post", "/v1/events/import"),
        ("post", "/v1/transactions"),
        ("post", "/v1/transactions/{transaction_id}/reversal"),
        ("post", "/v1/holds"),
        ("post", "/v1/holds/{hold_id}/capture"),
        ("post", "/v1/holds/{hold_id}/release"),
        ("get", "/v1/event-types"),
        ("put", "/v1/event-types"),
        ("put", "/v1/event-types/{event_type}"),
        ("get", "/v1/accounts/{account_id}/limits"),
        ("put", "/v1/accounts/{account_id}/limits"),
    },
    "query": {
        ("get", "/v1/accounts/{account_id}/balances"),
        ("get", "/v1/accounts/{account_id}/balances/{currency}"),
        ("get", "/v1/accounts/{account_id}/statement"),
        ("get", "/v1/activity"),
        ("get", "/v1/audit/events"),
        ("get", "/v1/audit/head"),
        ("get", "/v1/audit/verify"),
        ("get", "/v1/balances"),
        ("get", "/v1/events"),
        ("get", "/v1/events/{event_id}"),
        ("get", "/v1/export/journal"),
        ("get", "/v1/holds"),
        ("get", "/v1/holds/{hold_id}"),
        ("get", "/v1/transactions/{transaction_id}"),
        ("get", "/v1/lag"),
        ("get", "/v1/searchable-metadata"),
        ("get", "/v1/stream"),
        ("get", "/v1/totals"),
        ("post", "/v1/read-tokens"),
        ("put", "/v1/searchable-metadata"),
    },
    "projector": set(),
}
# A stack that is reached by its URLs alone need not tell where its projector is.
each_service = pytest.mark.parametrize(
    "service",
    ["tenant-manager", "ingest", "query", pytest.param("projector", marks=pytest.mark.local)],
)


@each_service
async def test_a_service_is_alive_and_ready(freehold: Freehold, service: str) -> None:
    url = address(freehold, service)
    alive = found(await freehold.ask("GET", f"{url}/healthz"))
    assert (alive["status"], alive["version"]) == ("ok", this_release().version)
    # A stack that runs elsewhere may be of another commit, or not know its own.
    assert alive["commit"] is None or re.fullmatch("[0-9a-f]{12}", alive["commit"])
    ready = found(await freehold.ask("GET", f"{url}/readyz"))
    assert ready["status"] == "ok"
    assert ready["checks"]
    assert all(ready["checks"].values())


@each_service
async def test_metrics_are_in_the_format_of_prometheus(freehold: Freehold, service: str) -> None:
    url = address(freehold, service)
    await freehold.ask("GET", f"{url}/healthz")
    answer = await freehold.ask("GET", f"{url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    requests = families["freehold_http_request_seconds"]
    assert any(
        sample.labels.get("route") == "/healthz" and sample.labels["status"] == "200"
        for sample in requests.samples
    )
    for name, family in families.items():
        assert family.documentation or not name.startswith("freehold_"), name


@each_service
async def test_unknown_paths_and_methods_make_no_new_series(
    freehold: Freehold, service: str
) -> None:
    url = address(freehold, service)
    problem(await freehold.ask("GET", f"{url}/invented/here"), "not-found")
    problem(await freehold.ask("PROPFIND", f"{url}/v1/invented"), "not-found")
    text = (await freehold.ask("GET", f"{url}/metrics")).text
    assert "invented" not in text
    assert "PROPFIND" not in text


@each_service
async def test_a_person_can_read_the_documentation(freehold: Freehold, service: str) -> None:
    answer = await freehold.ask("GET", f"{address(freehold, service)}/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "<script" not in answer.text


@each_service
async def test_every_resource_names_its_methods(freehold: Freehold, service: str) -> None:
    url = address(freehold, service)
    document = await openapi(freehold, service)
    for template, item in document["paths"].items():
        path = concrete(template)
        allowed = {method.upper() for method in item} | {"OPTIONS"}
        allowed |= {"HEAD"} if "get" in item else set()
        options = await freehold.ask("OPTIONS", f"{url}{path}")
        assert options.status_code == 204
        refused = await freehold.ask("PATCH", f"{url}{path}")
        problem(refused, "method-not-allowed")
        for answer in (options, refused):
            assert set(answer.headers["allow"].split(", ")) == allowed, template
        if "get" in item:
            whole = await freehold.ask("GET", f"{url}{path}")
            head = await freehold.send("HEAD", f"{url}{path}")
            assert (head.status_code, head.content) == (whole.status_code, b""), template
            changing = {"date", "x-request-id", "content-length"}
            assert set(head.headers) - changing == set(whole.headers) - changing, template


@pytest.mark.parametrize("service", ["tenant-manager", "ingest"])
async def test_every_body_is_json_and_has_each_member_once(
    freehold: Freehold, refused_tenant: Tenant, service: str
) -> None:
    bearer = {
        "tenant-manager": freehold.addresses.operator_token,
        "ingest": refused_tenant.api_key,
    }[service]
    document = await openapi(freehold, service)
    for method, template, operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {})
        url = f"{address(freehold, service)}{concrete(template)}"
        for sent in ({"Content-Type": "application/xml"}, {"Content-Encoding": "br"}):
            if content:
                headers = {"Idempotency-Key": "k", "Content-Type": next(iter(content)), **sent}
                answer = await freehold.ask(
                    method.upper(), url, bearer=bearer, headers=headers, body=b"{}"
                )
                problem(answer, "unsupported-media-type")
        if "application/json" in content:
            name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
            for example in document["components"]["schemas"][name]["examples"]:
                for member, value in example.items():
                    twice = f"{json.dumps(example)[:-1]}, {json.dumps({member: value})[1:]}"
                    answer = await freehold.ask(
                        method.upper(),
                        url,
                        bearer=bearer,
                        headers={"Idempotency-Key": "k"},
                        body=twice.encode(),
                    )
                    assert pointers(answer) == [f"/{member}"], template


@each_service
async def test_every_route_is_documented(freehold: Freehold, service: str) -> None:
    document = await openapi(freehold, service)
    documented = {(method, path) for method, path, _ in operations(document)}
    assert documented == ROUTES[service] | PUBLIC
    for method, path, operation in operations(document):
        route = f"{method} {path}"
        assert operation["summary"], route
        in_path = {
            parameter["name"]
            for parameter in operation.get("parameters", [])
            if parameter["in"] == "path"
        }
        assert in_path == {part[1:-1] for part in path.split("/") if part.startswith("{")}, route
        assert any(status.startswith("2") for status in operation["responses"]), route


@each_service
async def test_the_documentation_is_valid_openapi(freehold: Freehold, service: str) -> None:
    document = await openapi(freehold, service)
    assert document["openapi"].startswith("3.1")
    assert document["info"]["title"]
    assert document["info"]["version"] == this_release().version
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    resolver = Registry().with_resource("", DRAFT202012.create_resource(document)).resolver()
    for reference in values_of(document, "$ref"):
        resolver.lookup(reference)
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


# Their bodies are no text that could be shown.
FILES = {"application/pdf", "application/sql", "application/octet-stream", "text/csv"}
# What OpenAPI 3.1 has in the objects that we write, and no more: a misspelt field says nothing.
FIELDS = {
    "document": {"openapi", "info", "servers", "paths", "components", "security", "tags"},
    "operation": {
        "tags",
        "summary",
        "description",
        "operationId",
        "parameters",
        "requestBody",
        "responses",
        "security",
    },
    "parameter": {"name", "in", "required", "description", "schema", "style", "explode"},
    "body": {"required", "description", "content"},
    "response": {"description", "headers", "content"},
    "media type": {"schema", "examples"},
    "example": {"summary", "value"},
    "header": {"description", "schema"},
}


@each_service
async def test_the_documentation_has_what_openapi_knows_and_nothing_else(
    freehold: Freehold, service: str
) -> None:
    document = await openapi(freehold, service)
    assert set(document) <= FIELDS["document"]
    assert document["servers"]
    components = document["components"]
    assert set(components) == {"schemas", "responses", "examples", "headers", "securitySchemes"}
    for header in components["headers"].values():
        assert set(header) == FIELDS["header"]
        jsonschema.Draft202012Validator.check_schema(header["schema"])
    for example in components["examples"].values():
        assert set(example) == FIELDS["example"]
    for method, path, operation in operations(document):
        route = f"{method} {path}"
        assert set(operation) <= FIELDS["operation"], route
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for parameter in operation.get("parameters", []):
            assert set(parameter) <= FIELDS["parameter"], route
            jsonschema.Draft202012Validator.check_schema(parameter["schema"])
        for body in bodies:
            assert set(body) <= FIELDS["body"], route
        responses = {
            status: resolved(document, response)
            for status, response in operation["responses"].items()
        }
        for status, response in responses.items():
            assert re.fullmatch("[1-5][0-9][0-9]|default", status), route
            assert response["description"], route
            assert set(response) <= FIELDS["response"], route
            assert status == "default" or "X-Request-Id" in response["headers"], route
            assert ("Retry-After" in response.get("headers", {})) == (status in {"429", "503"})
        for _, media in media_of(document, operation):
            assert {"schema"} <= set(media) <= FIELDS["media type"], route
            jsonschema.Draft202012Validator.check_schema(media["schema"])
        if operation.get("security") != []:
            assert {"401", "422", "500", "503"} <= set(operation["responses"]), route
    # Pydantic's names of bounds are none of JSON Schema's.
    for name in ("ge", "le", "gt", "lt", "multiple_of"):
        assert not list(values_of(document, name))


async def test_bounds_of_parameters_are_documented(freehold: Freehold) -> None:
    document = await openapi(freehold, "query")
    parameters = document["paths"]["/v1/events"]["get"]["parameters"]
    limit = next(one["schema"] for one in parameters if one["name"] == "limit")
    assert (limit["minimum"], limit["maximum"], limit["type"]) == (1, 1000, "integer")


@each_service
async def test_every_documented_example_is_a_valid_one(freehold: Freehold, service: str) -> None:
    document = await openapi(freehold, service)
    with_examples = {
        name: schema["examples"]
        for name, schema in document["components"]["schemas"].items()
        if "examples" in schema
    }
    assert "ProblemDocument" in with_examples
    for name, examples in with_examples.items():
        for example in examples:
            validate(document, {"$ref": f"#/components/schemas/{name}"}, example)


@each_service
async def test_every_body_that_is_asked_for_or_answered_has_an_example(
    freehold: Freehold, service: str
) -> None:
    document = await openapi(freehold, service)
    for method, path, operation in operations(document):
        for media_type, media in media_of(document, operation):
            schema = resolved(document, media["schema"])
            if path.startswith("/v1/") and media_type not in FILES:
                assert schema["examples"], f"{method} {path}"


async def test_answers_are_as_documented(freehold: Freehold, tenant: Tenant) -> None:
    ingest = await openapi(freehold, "ingest")
    query = await openapi(freehold, "query")
    manager = await openapi(freehold, "tenant-manager")
    one = await tenant.post("/events", event_body(external_id="a", metadata={"a": "b"}))
    event = created(one)
    batch = await tenant.post("/events/batch", {"events": [event_body()]})
    reversal = await tenant.post(f"/events/{event['event_id']}/reversal")
    answers: list[tuple[Document, str, str, httpx.Response]] = [
        (ingest, "post", "/v1/events", one),
        (ingest, "post", "/v1/events/batch", batch),
        (ingest, "post", "/v1/events/{event_id}/reversal", reversal),
        *((ingest, *asked) for asked in await rules_holds_and_transactions(tenant)),
    ]
    await tenant.caught_up()
    answers += [
        (query, "get", f"/v1{template}", await tenant.get(path))
        for template, path in (
            ("/accounts/{account_id}/balances", "/accounts/cus_42/balances"),
            ("/accounts/{account_id}/balances/{currency}", "/accounts/cus_42/balances/USD"),
            ("/balances", "/balances"),
            ("/events", "/events"),
            ("/events/{event_id}", f"/events/{event['event_id']}"),
            ("/lag", "/lag"),
        )
    ]
    own = f"/tenants/{tenant.tenant_id}"
    answers += [
        (manager, "get", f"/v1{template}", await freehold.manage("GET", path))
        for template, path in (
            ("/tenants", "/tenants"),
            ("/tenants/{tenant_id}", own),
            ("/tenants/{tenant_id}/api-keys", f"{own}/api-keys"),
            ("/tenants/{tenant_id}/credentials", f"{own}/credentials"),
            ("/regions", "/regions"),
        )
    ]
    for document, method, path, answer in answers:
        responses = document["paths"][path][method]["responses"]
        media = responses[str(answer.status_code)]["content"]["application/json"]
        validate(document, media["schema"], answer.json())
    refused = await tenant.post("/events", event_body(amount_minor=0))
    documented = ingest["paths"]["/v1/events"]["post"]["responses"]["422"]
    media = resolved(ingest, documented)["content"][refused.headers["content-type"]]
    validate(ingest, media["schema"], refused.json())


@each_service
@pytest.mark.parametrize("path", ["/healthz", "/v1/nothing"])
async def test_a_request_id_comes_back(freehold: Freehold, service: str, path: str) -> None:
    url = f"{address(freehold, service)}{path}"
    answer = await freehold.ask("GET", url, headers={"X-Request-Id": "a-B.c_1"})
    assert answer.headers["x-request-id"] == "a-B.c_1"
    made = {(await freehold.ask("GET", url)).headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3
    for unusable in ("", "a b", "x" * 65, "\u00e9", 'quote"'):
        answer = await freehold.ask("GET", url, headers={"X-Request-Id": unusable})
        assert answer.headers["x-request-id"] != unusable


async def test_a_refused_request_has_its_id_too(tenant: Tenant) -> None:
    named = {"X-Request-Id": "mine"}
    stranger = tenant.bearing("unknown")
    for answer in (
        await tenant.post("/events", b"{", headers=named),
        await tenant.post("/events", event_body(amount_minor=0), headers=named),
        await stranger.post("/events", event_body(), headers=named),
        await tenant.get("/accounts/unknown/balances", headers=named),
        await tenant.post("/events", b" " * (16 * 2**20 + 1), headers=named),
    ):
        assert answer.status_code >= 400
        assert answer.headers.get_list("x-request-id") == ["mine"]


@pytest.mark.parametrize("service", ["tenant-manager", "query"])
async def test_a_body_that_no_route_could_want_is_too_large(
    freehold: Freehold, service: str
) -> None:
    url = f"{address(freehold, service)}/v1/tenants"
    body = b" " * 70_000
    problem(await freehold.ask("POST", url, bearer="x", body=body), "body-too-large")


async def rules_holds_and_transactions(tenant: Tenant) -> list[tuple[str, str, httpx.Response]]:
    """Ask ingest for each of them, and give what was asked and the answer."""
    transaction = await tenant.post("/transactions", {"legs": [leg("a", -1), leg("b", 1)]})
    transaction_id = created(transaction)["transaction_id"]
    placed = [await tenant.post("/holds", hold_body()) for _ in range(2)]
    captured, released = (created(hold)["hold_id"] for hold in placed)
    limits = {"currency": "USD", "min_balance_minor": -1}
    return [
        ("post", "/v1/transactions", transaction),
        (
            "post",
            "/v1/transactions/{transaction_id}/reversal",
            await tenant.post(f"/transactions/{transaction_id}/reversal"),
        ),
        ("post", "/v1/holds", placed[0]),
        ("post", "/v1/holds/{hold_id}/capture", await tenant.post(f"/holds/{captured}/capture")),
        ("post", "/v1/holds/{hold_id}/release", await tenant.post(f"/holds/{released}/release")),
        *[
            (method.lower(), f"/v1{template}", await tenant.ask_ingest(method, path, body))
            for method, template, path, body in (
                ("PUT", "/event-types/{event_type}", "/event-types/CHARGE", {"sign": "any"}),
                ("PUT", "/event-types", "/event-types", {"closed": False}),
                ("GET", "/event-types", "/event-types", None),
                ("PUT", "/accounts/{account_id}/limits", "/accounts/cus_42/limits", limits),
                ("GET", "/accounts/{account_id}/limits", "/accounts/cus_42/limits", None),
            )
        ],
    ]


def address(freehold: Freehold, service: str) -> str:
    if service not in freehold.services:
        pytest.skip(f"this stack does not tell where {service} is")
    return freehold.services[service]


async def openapi(freehold: Freehold, service: str) -> Document:
    return found(await freehold.ask("GET", f"{address(freehold, service)}/openapi.json"))


def values_of(document: Any, name: str) -> Iterator[Any]:
    """Every value that stands under this name, anywhere in a document."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key == name:
                yield value
            yield from values_of(value, name)
    elif isinstance(document, list):
        for value in document:
            yield from values_of(value, name)


def concrete(template: str) -> str:
    """A path of a route, to what is not there."""
    parts = {
        "tenant_id": "unknown",
        "key_id": "0" * 16,
        "name": f"fh_{'0' * 16}",
        "event_type": "CHARGE",
        "account_id": "cus_42",
        "currency": "USD",
        "operator_name": "nobody",
        "slug": "unknown",
    }
    return re.sub(r"\{(\w+)\}", lambda found: parts.get(found[1], str(uuid4())), template)
