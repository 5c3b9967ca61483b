"""What the answers of all reads have in common: tags, caching, amounts as the client prefers."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from freehold.contracts.holds import NewHold
from integration.query.tenants import Tenant
from support.builders import new_event

LARGE = 2**53 + 1


@pytest.fixture(scope="module")
async def paths(still_tenant: Tenant) -> list[str]:
    """The path of every read of a ledger that has one of each thing."""
    first, _ = await still_tenant.append(
        new_event("cus_42", LARGE), new_event("cus_43", -LARGE), transaction=True
    )
    await still_tenant.append(new_event("cus_42", 7, currency="JPY"))
    hold = NewHold(
        account_id="cus_42",
        currency="USD",
        amount_minor=5,
        expires_at=datetime.now(UTC) + timedelta(days=1),
    )
    (placed,) = await still_tenant.append(hold)
    await still_tenant.project()
    return [
        "/v1/accounts/cus_42/balances",
        "/v1/accounts/cus_42/balances?consistency=strong",
        "/v1/accounts/cus_42/balances/USD",
        "/v1/accounts/cus_42/statement?currency=USD",
        "/v1/balances",
        "/v1/events",
        f"/v1/events/{first['event_id']}",
        f"/v1/transactions/{first['transaction_id']}",
        f"/v1/holds/{placed['hold_id']}",
        "/v1/lag",
    ]


async def test_an_unchanged_answer_is_not_sent_again(
    still_query: httpx.AsyncClient, paths: list[str]
) -> None:
    for path in paths:
        first = await still_query.get(path)
        assert first.status_code == 200, path
        assert first.headers["cache-control"] == "private, no-cache"
        forms = ", Accept" if "statement" in path else ""
        assert first.headers["vary"] == f"Authorization, Prefer, Accept-Encoding, Origin{forms}"
        condition = {"If-None-Match": first.headers["etag"]}
        again = await still_query.get(path, headers=condition)
        assert (again.status_code, again.content) == (304, b""), path
        head = await still_query.head(path)
        assert (head.content, head.headers["etag"]) == (b"", first.headers["etag"])


async def test_amounts_are_strings_for_who_prefers_them(
    still_query: httpx.AsyncClient, paths: list[str]
) -> None:
    amounts = 0
    for path in paths:
        plain = await still_query.get(path)
        assert "preference-applied" not in plain.headers
        preferring = {"Prefer": "amounts=string, unknown=thing"}
        answer = await still_query.get(path, headers=preferring)
        assert answer.headers["preference-applied"] == "amounts=string"
        assert answer.json() == with_strings(plain.json())
        # One answer must not be taken for the other.
        assert answer.headers["etag"] != plain.headers["etag"] or path == "/v1/lag"
        kept = {**preferring, "If-None-Match": answer.headers["etag"]}
        assert (await still_query.get(path, headers=kept)).status_code == 304
        amounts += answer.text.count('_minor":"')
    assert amounts > 20


async def test_a_balance_names_the_decimals_of_its_currency(
    still_query: httpx.AsyncClient, paths: list[str]
) -> None:
    balances = (await still_query.get(paths[0])).json()["balances"]
    assert [(b["currency"], b["exponent"]) for b in balances] == [("JPY", 0), ("USD", 2)]
    listed = (await still_query.get("/v1/balances")).json()["data"]
    assert [b["exponent"] for b in listed if b["account_id"] == "cus_42"] == [0, 2]


async def test_a_condition_does_not_hide_that_there_is_nothing(
    still_query: httpx.AsyncClient,
) -> None:
    for path in (f"/v1/events/{uuid4()}", f"/v1/holds/{uuid4()}"):
        answer = await still_query.get(path, headers={"If-None-Match": "*"})
        assert answer.status_code == 404


def with_strings(document: Any) -> Any:
    """The same with every amount as a string."""
    if isinstance(document, Mapping):
        return {
            name: str(value) if name.endswith("_minor") else with_strings(value)
            for name, value in document.items()
        }
    return [with_strings(each) for each in document] if isinstance(document, list) else document
