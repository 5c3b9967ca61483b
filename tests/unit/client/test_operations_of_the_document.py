"""Every operation of the OpenAPI document is a method of both clients."""

import json
from pathlib import Path

from freehold_client import AsyncFreehold, Freehold
from freehold_client.generated.problems import TooManyRequests
from freehold_client.generated.routes import ROUTES

DOCUMENT = json.loads((Path(__file__).parents[3] / "services/clients/openapi.json").read_bytes())


def test_each_operation_is_a_method() -> None:
    operations = {
        operation["operationId"]: (method.upper(), path)
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
    }

    assert {name: (route.method, route.template) for name, route in ROUTES.items()} == operations
    for name in operations:
        for client in (Freehold, AsyncFreehold):
            assert callable(getattr(client, name)), name
            assert getattr(client, name).__doc__, name


def test_each_problem_type_says_what_it_is() -> None:
    assert TooManyRequests.slug == "too-many-requests"
    assert TooManyRequests.__doc__
