"""The committed OpenAPI document: what generators of clients rely on.

That it is what the services say of themselves is what `make check` compares.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.http.catalogue import PROBLEM_TYPES
from support.documents import Document, media_of, named_within, operations, resolved, validate

FILE = Path(__file__).parents[2] / "services" / "clients" / "openapi.json"


@pytest.fixture(scope="module")
def document() -> Document:
    found: Document = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def test_operations_are_named_as_a_person_would_name_them(document: Document) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch("[a-z]+(_[a-z]+)+", name)


def test_each_operation_names_the_service_that_answers_it(document: Document) -> None:
    services = {
        "append_event": "ingest",
        "list_balances": "query",
        "list_tenants": "tenant-manager",
    }
    for _, path, operation in operations(document):
        (server,) = operation["servers"]
        assert server in document["servers"], path
        expected = services.pop(operation["operationId"], server["description"])
        assert server["description"] == expected, path
    assert not services


def test_each_group_of_operations_is_described(document: Document) -> None:
    described = [tag["name"] for tag in document["tags"]]
    used = {tag for _, _, operation in operations(document) for tag in operation["tags"]}
    assert len(described) == len(used)
    assert set(described) == used
    assert all(tag["description"] for tag in document["tags"])


def test_each_operation_names_its_credential(document: Document) -> None:
    schemes = document["components"]["securitySchemes"]
    for _, path, operation in operations(document):
        (required,) = operation["security"]
        assert set(required) <= set(schemes), path
        of_operator = operation["servers"][0]["description"] == "tenant-manager"
        own = path == "/v1/export"
        assert ("operator_token" in required) == (of_operator and not own), path


# Texts for people, and what only its reader understands.
FREE_TEXT = {
    *("title", "detail", "message", "fault", "error", "pointer", "kind", "reason"),
    *("dsn", "host", "password", "token", "description", "time_zone", "confirm", "differs"),
}


def described(document: Document) -> Iterator[tuple[str, Document]]:
    """Each schema of the document but those of headers, under the last name on its way."""
    for name, schema in document["components"]["schemas"].items():
        yield from named_within(name, schema)
    for _, _, operation in operations(document):
        for parameter in operation.get("parameters", ()):
            yield from named_within(parameter["name"], parameter["schema"])


def test_every_integer_has_bounds_and_its_format(document: Document) -> None:
    integers = [
        (name, schema)
        for name, schema in described(document)
        if schema.get("type") == "integer" and "const" not in schema
    ]
    assert len(integers) > 50
    for name, schema in integers:
        least, most = schema["minimum"], schema["maximum"]
        assert least < most, name
        # What has no format does not fit into 64 bits.
        fits = next((n for n in (32, 64) if -(2 ** (n - 1)) <= least and most < 2 ** (n - 1)), None)
        assert schema.get("format") == (None if fits is None else f"int{fits}"), name
        assert fits or "_minor" in name or name in {"min", "max"}, name


def test_every_text_has_a_form_or_is_for_people(document: Document) -> None:
    forms = {"pattern", "format", "enum", "const", "maxLength", "contentMediaType"}
    formless = {
        name
        for name, schema in described(document)
        if schema.get("type") == "string" and not forms & set(schema)
    }
    assert formless <= FREE_TEXT


def test_a_status_has_one_schema_that_lists_its_types(document: Document) -> None:
    schemas = document["components"]["schemas"]
    of_status: dict[int, set[str]] = {}
    for kind in PROBLEM_TYPES:
        of_status.setdefault(kind.status, set()).add(kind.uri)
    for _, path, operation in operations(document):
        for status, response in operation["responses"].items():
            if status[0] in "45":
                (media,) = resolved(document, response)["content"].values()
                assert media["schema"] == {"$ref": f"#/components/schemas/Problem{status}"}, path
                listed = schemas[f"Problem{status}"]["properties"]["type"]["enum"]
                assert set(listed) == of_status[int(status)]
                answered = {f"/problems/{slug}" for slug in media["examples"]}
                assert answered <= of_status[int(status)], path
    assert set(schemas["ProblemType"]["enum"]) == {kind.uri for kind in PROBLEM_TYPES}


def test_every_example_fits_its_schema(document: Document) -> None:
    count = 0
    for _, schema in described(document):
        for example in schema.get("examples", ()):
            validate(document, schema, example)
            count += 1
    for _, _, operation in operations(document):
        for _, media in media_of(document, operation):
            for example in media["schema"].get("examples", ()):
                validate(document, media["schema"], example)
                count += 1
            for named in media.get("examples", {}).values():
                validate(document, media["schema"], resolved(document, named)["value"])
                count += 1
    assert count > 500


def test_the_lines_and_events_of_a_stream_are_described(document: Document) -> None:
    streams = [
        (operation["operationId"], media["schema"])
        for _, _, operation in operations(document)
        for _, media in media_of(document, operation)
        if "contentSchema" in media["schema"]
    ]
    assert {name for name, _ in streams} == {
        *("import_events", "list_audit_events", "stream_balances", "verify_own_ledger")
    }
    for name, schema in streams:
        if name != "stream_balances":
            (example,) = schema["examples"]
            lines = [json.loads(line) for line in example.splitlines()]
            validate(document, schema["contentSchema"], lines)
            with pytest.raises(AssertionError):
                validate(document, schema["contentSchema"], [{}])
    (events,) = [schema for name, schema in streams if name == "stream_balances"]
    name, _, data = (line.partition(": ")[2] for line in events["examples"][0].splitlines()[:3])
    change = {"event": name, "id": "MTo3", "data": json.loads(data)}
    validate(document, events["contentSchema"], [change])
    with pytest.raises(AssertionError):
        validate(document, events["contentSchema"], [{**change, "event": "unknown"}])


def test_headers_of_answers_have_types(document: Document) -> None:
    headers = document["components"]["headers"]
    assert headers["Retry-After"]["schema"]["type"] == "integer"
    assert headers["Idempotency-Replayed"]["schema"]["type"] == "boolean"
    for _, path, operation in operations(document):
        appends = any(one["name"] == "Idempotency-Key" for one in operation.get("parameters", ()))
        for status, response in operation["responses"].items():
            named = set(resolved(document, response).get("headers", {}))
            assert "X-Request-Id" in named or status == "default", path
            assert ("Retry-After" in named) == (status in {"429", "503"}), path
            assert ("ETag" in named) <= (status in {"200", "304"}), path
            assert ("Idempotency-Replayed" in named) == (appends and status == "201"), path
