"""What answers become: values, and errors."""

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from freehold.contracts.events import LEDGER_EVENT_EXAMPLE
from freehold_client import (
    DuplicateExternalId,
    Freehold,
    InsufficientFunds,
    NoAnswerError,
    Problem,
    SettingsError,
    TooManyRequests,
    UnexpectedAnswerError,
)
from support.scripted_client import (
    API_KEY,
    BALANCE,
    OPERATOR_TOKEN,
    Pieces,
    Script,
    document,
    given,
    listed,
    problem,
)

NewClient = Callable[[Script], Any]


def page(*accounts: str, then: str | None) -> httpx.Response:
    return document(
        {"data": [{**BALANCE, "account_id": each} for each in accounts], "next_cursor": then}
    )


async def test_times_are_times_and_amounts_are_exact(new_client: NewClient) -> None:
    most = 10**37 + 1
    script = Script([document({**BALANCE, "current_balance_minor": str(most), "held_minor": most})])

    balance = await given(new_client(script).get_balance("cus_42", "USD"))

    assert balance.current_balance_minor == balance.held_minor == most
    assert balance.last_updated_time == datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
    assert balance.available_minor is None


async def test_what_a_later_release_adds_is_no_error(new_client: NewClient) -> None:
    script = Script([document({**BALANCE, "colour": "blue"})])

    assert (await given(new_client(script).get_balance("cus_42", "USD"))).last_seq == 7


@pytest.mark.parametrize(
    "answer",
    [
        document({"currency": "USD"}),
        httpx.Response(200, text="<html>Log in to the guest network</html>"),
        httpx.Response(302, headers={"Location": "http://elsewhere"}),
        httpx.Response(404, text="<html>nginx</html>"),
        document({"error": "not found"}, 404),
        document(["type"], 404),
    ],
)
async def test_what_is_none_of_freeholds_answers(
    new_client: NewClient, answer: httpx.Response
) -> None:
    with pytest.raises(UnexpectedAnswerError):
        await given(new_client(Script([answer])).get_balance("cus_42", "USD"))


async def test_a_problem_is_an_exception_of_its_type(new_client: NewClient) -> None:
    rules = [{"pointer": "/legs/0", "detail": "one"}, {"pointer": "/legs/1", "detail": "two"}]
    refused = problem("insufficient-funds", 422, {"X-Request-Id": "r1"}, errors=rules)

    with pytest.raises(InsufficientFunds) as caught:
        await given(new_client(Script([refused])).append_transaction(legs=[]))

    found = caught.value
    assert (found.type, found.slug) == ("/problems/insufficient-funds", "insufficient-funds")
    assert (found.status, found.request_id, found.retry_after_s) == (422, "r1", None)
    assert [(each.pointer, each.detail) for each in found.errors] == [
        ("/legs/0", "one"),
        ("/legs/1", "two"),
    ]
    assert "/legs/1: two" in str(found)


async def test_an_answer_that_cannot_be_unpacked_is_none(new_client: NewClient) -> None:
    packed = httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=Pieces(b"not gzip"))

    with pytest.raises(NoAnswerError):
        await given(new_client(Script([packed])).get_lag())


async def test_a_problem_has_the_members_of_its_type(new_client: NewClient) -> None:
    refused = problem("duplicate-external-id", 409, existing_event_id="e1")

    with pytest.raises(DuplicateExternalId) as caught:
        await given(new_client(Script([refused])).reverse_event("e0"))

    assert caught.value.document["existing_event_id"] == "e1"


async def test_a_problem_can_be_handed_on_between_processes(new_client: NewClient) -> None:
    refused = problem("too-many-requests", 429, {"Retry-After": "90", "X-Request-Id": "r1"})

    with pytest.raises(TooManyRequests) as caught:
        await given(new_client(Script([refused])).get_lag())

    # By the same means as pickle.
    found = copy.copy(caught.value)
    assert isinstance(found, TooManyRequests)
    assert (str(found), found.retry_after_s, found.request_id) == (str(caught.value), 90, "r1")


async def test_a_type_that_is_not_known_yet_is_a_problem(new_client: NewClient) -> None:
    with pytest.raises(Problem) as caught:
        await given(new_client(Script([problem("of-the-future", 418)])).get_lag())

    assert (type(caught.value), caught.value.type) == (Problem, "/problems/of-the-future")


async def test_pages_are_read_as_the_loop_goes_on(new_client: NewClient) -> None:
    script = Script([page("a", "b", then="c1"), page(then="c2"), page("c", then=None)])
    balances = new_client(script).list_balances(account_prefix="x", page_size=2)

    assert [each.account_id for each in await listed(balances, at_most=2)] == ["a", "b"]
    assert len(script.asked) == 1


async def test_all_pages_have_the_same_filters(new_client: NewClient) -> None:
    script = Script([page("a", "b", then="c1"), page(then="c2"), page("c", then=None)])
    balances = new_client(script).list_balances(account_prefix="x", page_size=2)

    assert [each.account_id for each in await listed(balances)] == ["a", "b", "c"]
    asked = [dict(request.url.params) for request in script.asked]
    filters = {"account_prefix": "x", "limit": "2"}
    assert asked == [filters, {**filters, "cursor": "c1"}, {**filters, "cursor": "c2"}]


async def test_a_list_with_members_of_its_own_comes_whole(new_client: NewClient) -> None:
    kinds = [{"event_type": each, "sign": "any", "description": ""} for each in ("A", "B")]
    script = Script(
        [
            document({"closed": True, "data": kinds[:1], "next_cursor": "c1"}),
            document({"closed": True, "data": kinds[1:], "next_cursor": None}),
        ]
    )

    found = await given(new_client(script).list_event_types())

    assert found.closed
    assert [each.event_type for each in found.data] == ["A", "B"]
    assert found.next_cursor is None


async def test_what_is_sent(new_client: NewClient) -> None:
    script = Script([document(LEDGER_EVENT_EXAMPLE, 201), page(then=None)])
    client = new_client(script)

    await given(
        client.append_event(
            account_id="cus_42",
            event_type="CHARGE",
            amount_minor=2000,
            currency="USD",
            transaction_time=datetime(2026, 3, 1, 12, tzinfo=UTC),
        )
    )
    await listed(
        client.list_balances(as_of=datetime(2026, 3, 1, 12, tzinfo=UTC), known_at=None, min=0)
    )

    append, read = script.asked
    assert b"external_id" not in append.content
    assert b'"transaction_time":"2026-03-01T12:00:00Z"' in append.content
    assert append.headers["user-agent"].startswith("freehold-client/")
    assert append.headers["authorization"] == f"Bearer {API_KEY}"
    assert dict(read.url.params) == {"as_of": "2026-03-01T12:00:00+00:00", "min": "0"}
    assert (append.url.port, read.url.port) == (8081, 8082)


async def test_a_null_that_means_something_is_sent(new_client: NewClient) -> None:
    script = Script([document({"account_id": "cus_42", "limits": []})])

    await given(
        new_client(script).set_account_limit("cus_42", currency="USD", min_balance_minor=None)
    )

    assert b'"min_balance_minor":null' in script.asked[0].content


async def test_the_operators_calls_have_the_operators_token(new_client: NewClient) -> None:
    script = Script([document({"data": [], "next_cursor": None})])

    await listed(new_client(script).list_tenants())

    assert script.asked[0].headers["authorization"] == f"Bearer {OPERATOR_TOKEN}"
    assert script.asked[0].url.port == 8080


async def test_an_id_never_leads_to_another_path(new_client: NewClient) -> None:
    script = Script([document({"account_id": "a/b", "limits": []})])
    client = new_client(script)

    await given(client.get_account_limits("a/b?c=d#e"))
    assert script.asked[0].url.raw_path == b"/v1/accounts/a%2Fb%3Fc%3Dd%23e/limits"
    for other in ("", ".", ".."):
        with pytest.raises(ValueError, match="cannot stand in"):
            await given(client.get_account_limits(other))


async def test_the_raw_way_gives_any_answer(new_client: NewClient) -> None:
    script = Script([problem("not-found", 404), httpx.Response(200, json={"status": "ok"})])
    client = new_client(script)

    missing = await given(client.request("GET", "/v1/accounts/x/balances", params={"a": None}))
    health = await given(client.request("GET", "/healthz", service="tenant_manager"))

    assert (missing.status_code, health.json()) == (404, {"status": "ok"})
    assert [request.url.port for request in script.asked] == [8082, 8080]
    with pytest.raises(SettingsError, match="service"):
        await given(client.request("GET", "/healthz"))


async def test_the_raw_way_sends_again_what_has_a_key(new_client: NewClient) -> None:
    script = Script([httpx.Response(503), httpx.Response(201)])
    client = new_client(script)

    kept = await given(client.request("POST", "/v1/events", json={}, idempotency_key="k1"))
    assert (kept.status_code, script.asked[1].headers["idempotency-key"]) == (201, "k1")

    script.answers = [httpx.Response(503), httpx.Response(201)]
    assert (await given(client.request("POST", "/v1/events", json={}))).status_code == 503


async def test_no_text_has_a_credential(new_client: NewClient) -> None:
    client = new_client(Script([httpx.ReadTimeout("late")]))

    with pytest.raises(NoAnswerError) as caught:
        await given(client.get_lag())

    for text in (repr(client), repr(client.core.settings), repr(caught.value), str(caught.value)):
        assert API_KEY not in text
        assert OPERATOR_TOKEN not in text


@pytest.mark.parametrize(
    "settings",
    [
        {"api_key": "fh_a\nb"},
        {"api_key": "fh_ä"},
        {"operator_token": ""},
        {"ingest_url": "ingest.example.com"},
        {"query_url": "https://name:password@query.example.com"},
    ],
)
def test_what_cannot_be_an_address_or_a_credential(settings: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        Freehold(**settings)  # type: ignore[arg-type]

    assert all(value not in str(caught.value) for value in settings.values() if value)


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FREEHOLD_API_KEY", API_KEY)
    monkeypatch.setenv("FREEHOLD_QUERY_URL", "https://query.example.com/")
    monkeypatch.setenv("FREEHOLD_INGEST_URL", "")
    monkeypatch.delenv("FREEHOLD_OPERATOR_TOKEN", raising=False)

    settings = Freehold.from_environment().core.settings

    assert (settings.api_key, settings.operator_token) == (API_KEY, None)
    assert (settings.query_url, settings.ingest_url) == (
        "https://query.example.com/",
        "http://127.0.0.1:8081",
    )


async def test_a_call_without_its_credential_is_not_sent() -> None:
    with pytest.raises(SettingsError, match="FREEHOLD_OPERATOR_TOKEN"):
        Freehold(api_key=API_KEY).get_tenant("acme")
