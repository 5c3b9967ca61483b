"""The OpenAPI document says what the routes take and answer."""

from typing import Any

import httpx
import pytest

PARAMETERS = {
    "/v1/accounts/{account_id}/balances": {"account_id", "consistency"},
    "/v1/accounts/{account_id}/balances/{currency}": {"account_id", "currency", "consistency"},
    "/v1/balances": {"account_prefix", "currency", "min", "max", "limit", "cursor"},
    "/v1/events": {"account_id", "limit", "cursor"},
    "/v1/events/{event_id}": {"event_id"},
    "/v1/transactions/{transaction_id}": {"transaction_id"},
    "/v1/holds/{hold_id}": {"hold_id"},
    "/v1/lag": set(),
}


@pytest.fixture(scope="module")
async def document(still_query: httpx.AsyncClient) -> dict[str, Any]:
    answer = await still_query.get("/openapi.json", headers={"Authorization": ""})
    found: dict[str, Any] = answer.json()
    return found


async def test_every_route_is_documented_with_its_parameters(document: dict[str, Any]) -> None:
    documented = {
        path: {parameter["name"] for parameter in methods["get"].get("parameters", [])}
        for path, methods in document["paths"].items()
        if path.startswith("/v1/")
    }
    assert documented == PARAMETERS


async def test_every_route_is_documented_with_its_answer(document: dict[str, Any]) -> None:
    for path in PARAMETERS:
        answer = document["paths"][path]["get"]["responses"]["200"]
        schema = answer["content"]["application/json"]["schema"]
        model = schema["$ref"].rpartition("/")[2]
        assert document["components"]["schemas"][model]["examples"]
