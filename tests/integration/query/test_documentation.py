"""The OpenAPI document says what the routes take and answer."""

from typing import Any

import httpx
import pytest

MOMENT = {"as_of", "known_at"}
PARAMETERS = {
    "/v1/accounts/{account_id}/balances": {"account_id", "consistency", *MOMENT},
    "/v1/accounts/{account_id}/balances/{currency}": {
        "account_id",
        "currency",
        "consistency",
        *MOMENT,
    },
    "/v1/balances": {"account_prefix", "currency", "min", "max", "limit", "cursor", *MOMENT},
    "/v1/totals": {"account_prefix", "currency", *MOMENT},
    "/v1/accounts/{account_id}/statement": {
        *("account_id", "currency", "from", "to", "by", "order", "limit", "cursor")
    },
    "/v1/events": {
        "account_id",
        "currency",
        "cursor",
        "event_type",
        "external_id",
        "from",
        "limit",
        "metadata",
        "order",
        "refunds_event_id",
        "to",
        "transaction_id",
    },
    "/v1/events/{event_id}": {"event_id"},
    "/v1/transactions/{transaction_id}": {"transaction_id"},
    "/v1/holds/{hold_id}": {"hold_id"},
    "/v1/holds": {"account_id", "status", "limit", "cursor"},
    "/v1/audit/head": set(),
    "/v1/lag": set(),
    "/v1/stream": {
        "account_prefix",
        "snapshot",
        "amounts",
        "last_event_id",
        "token",
        "Last-Event-ID",
    },
    "/v1/activity": {
        "account_id",
        "bucket",
        "currency",
        "cursor",
        "event_type",
        "from",
        "limit",
        "time_zone",
        "to",
    },
    "/v1/searchable-metadata": set(),
}


# These have no ETag, and write amounts in one form.
FILES = {
    "/v1/audit/events": {"from_seq", "to_seq"},
    "/v1/audit/verify": {"from_seq", "to_seq"},
    "/v1/export/journal": {"format", "from", "to"},
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
        if path.startswith("/v1/") and "get" in methods
    }
    assert (
        documented
        == {
            path: names | ({"Prefer"} if path == "/v1/stream" else {"Prefer", "If-None-Match"})
            for path, names in PARAMETERS.items()
        }
        | FILES
    )


async def test_every_route_is_documented_with_its_answer(document: dict[str, Any]) -> None:
    for path in PARAMETERS.keys() - {"/v1/stream"}:
        answer = document["paths"][path]["get"]["responses"]["200"]
        schema = answer["content"]["application/json"]["schema"]
        model = schema["$ref"].rpartition("/")[2]
        assert document["components"]["schemas"][model]["examples"]


async def test_the_stream_is_documented_as_one(document: dict[str, Any]) -> None:
    answer = document["paths"]["/v1/stream"]["get"]["responses"]["200"]
    assert list(answer["content"]) == ["text/event-stream"]
