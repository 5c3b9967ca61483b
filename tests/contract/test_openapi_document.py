"""The committed OpenAPI document: what generators of clients rely on.

That it is what the services say of themselves is what `make check` compares.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

Document = dict[str, Any]

FILE = Path(__file__).parents[2] / "services" / "clients" / "openapi.json"


@pytest.fixture(scope="module")
def document() -> Document:
    found: Document = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def operations(document: Document) -> Iterator[tuple[str, Document]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def test_operations_are_named_as_a_person_would_name_them(document: Document) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch("[a-z]+(_[a-z]+)+", name)


def test_each_operation_names_the_service_that_answers_it(document: Document) -> None:
    services = {
        "append_event": "ingest",
        "list_balances": "query",
        "list_tenants": "tenant-manager",
    }
    for route, operation in operations(document):
        (server,) = operation["servers"]
        assert server in document["servers"], route
        expected = services.pop(operation["operationId"], server["description"])
        assert server["description"] == expected, route
    assert not services


def test_each_group_of_operations_is_described(document: Document) -> None:
    described = [tag["name"] for tag in document["tags"]]
    used = {tag for _, operation in operations(document) for tag in operation["tags"]}
    assert len(described) == len(used)
    assert set(described) == used
    assert all(tag["description"] for tag in document["tags"])


def test_each_operation_names_its_credential(document: Document) -> None:
    schemes = document["components"]["securitySchemes"]
    for route, operation in operations(document):
        (required,) = operation["security"]
        assert set(required) <= set(schemes), route
        of_operator = operation["servers"][0]["description"] == "tenant-manager"
        own = route == "GET /v1/export"
        assert ("operator_token" in required) == (of_operator and not own), route
