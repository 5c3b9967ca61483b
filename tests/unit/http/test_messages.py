"""What a bad request is answered, word for word: for people, and never in a framework's words."""

import importlib
import json
import pkgutil
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from starlette.requests import Request as HttpRequest

from freehold.contracts import events, imports, transactions
from freehold.contracts.errors import DomainError
from freehold.contracts.events import BATCH_EVENTS_MAX, NEW_EVENT_EXAMPLE, NewBatch, NewEvent
from freehold.contracts.holds import NewCapture, NewHold, NewRelease
from freehold.contracts.transactions import NewTransaction
from freehold.http.bodies import parse
from freehold.http.catalogue import BY_SLUG
from freehold.http.lines import Line, read_event, rejected
from freehold.http.parameters import NoQuery, read_query
from freehold.http.problems import problem_document
from freehold_query.activity.contracts import ActivityQuery
from freehold_query.parameters import BalanceListQuery, EventListQuery
from freehold_tenant_manager.contracts.restores import NewRestore
from freehold_tenant_manager.contracts.tenants import NewApiKey, NewTenant, TenantLimits
from support.answers import FRAMEWORK

SERVICES = ["freehold_ingest", "freehold_query", "freehold_tenant_manager"]
API_KEY = f"fh_0123456789abcdef_{'5ec2e7' * 10}abcd"
READ_TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhY21lIn0.c2VjcmV0"
DETAIL_CHARACTERS_MAX = 400
UUID = "019ca9a8-5a00-7000-8000-0007c0a8d5e1"

LIKE_EVENT_TYPE = (
    "event_type must look like CHARGE or CARD_FEE (capitals, digits and _, at most 50, a capital"
    " first), and was "
)
LIKE_AMOUNT = "amount_minor must be an integer of minor units, such as 2000 for 20.00 USD, and was "
LIKE_TIME = (
    "transaction_time must be a time with an offset as in RFC 3339, such as 2026-03-01T12:00:00Z,"
    " and was "
)
LIKE_TENANT_ID = (
    "tenant_id must look like acme or acme-eu (small letters, digits and -, at most 63, a letter"
    " first), and was "
)
BIGGEST = 2**63 - 1
LIKE_64_BITS = f"amount_minor must be between {-BIGGEST - 1} and {BIGGEST}"


def names_of(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


NO_TENANT_ID = f"there is no member tenant_id, only {', '.join(names_of(NewEvent))}"
NO_COLOUR = f"there is no parameter colour, only {', '.join(names_of(EventListQuery))}"


OF_AN_EVENT: list[tuple[dict[str, Any], str]] = [
    ({"event_type": "charge"}, f"{LIKE_EVENT_TYPE}charge"),
    ({"event_type": ""}, f"{LIKE_EVENT_TYPE}empty"),
    ({"event_type": 7}, f"{LIKE_EVENT_TYPE}7"),
    ({"event_type": "x" * 61}, f'{LIKE_EVENT_TYPE}"{"x" * 60}…"'),
    ({"event_type": API_KEY}, f"{LIKE_EVENT_TYPE}what looks like a credential"),
    ({"event_type": API_KEY[-64:]}, f"{LIKE_EVENT_TYPE}what looks like a credential"),
    ({"event_type": f"Bearer {READ_TOKEN}"}, f"{LIKE_EVENT_TYPE}what looks like a credential"),
    ({"amount_minor": 2000.0}, f"{LIKE_AMOUNT}2000.0"),
    ({"amount_minor": "2000"}, f'{LIKE_AMOUNT}"2000"'),
    ({"amount_minor": True}, f"{LIKE_AMOUNT}true"),
    ({"amount_minor": None}, f"{LIKE_AMOUNT}null"),
    ({"amount_minor": [2000]}, f"{LIKE_AMOUNT}a list"),
    ({"amount_minor": 0}, "amount_minor must not be zero"),
    ({"amount_minor": BIGGEST + 1}, f"{LIKE_64_BITS}, and was {BIGGEST + 1}"),
    ({"amount_minor": 10**70}, f"{LIKE_64_BITS}, and was a number of more than 60 digits"),
    (
        {"currency": "usd"},
        "currency must look like USD or EUR (a code of ISO 4217, in capitals), and was usd",
    ),
    ({"currency": "QQQ"}, "currency must be a currency of ISO 4217, such as USD, and was QQQ"),
    ({"transaction_time": "yesterday"}, f"{LIKE_TIME}yesterday"),
    ({"transaction_time": "2026-02-30T12:00:00Z"}, f"{LIKE_TIME}2026-02-30T12:00:00Z"),
    (
        {"transaction_time": "2100-01-01T00:00:00Z"},
        "transaction_time must not lie more than 24 hours ahead",
    ),
    ({"external_id": "x" * 300}, "external_id must have 1 to 255 characters, and had 300"),
    (
        {"external_id": "a\x00\x1b[2J"},
        r'external_id must not hold control characters, and was "a\x00\x1b[2J"',
    ),
    ({"metadata": "x"}, 'metadata must be an object, and was "x"'),
    ({"metadata": {"plan": 1}}, "metadata.plan must be text, and was 1"),
    ({"metadata": {"": "x"}}, 'the key "" of metadata must have 1 to 40 characters, and had 0'),
    ({"amount": 2000}, "there is no member amount: perhaps amount_minor is meant"),
    ({"accountId": "x"}, "there is no member accountId: perhaps account_id is meant"),
    ({"tenant_id": "acme"}, NO_TENANT_ID),
    ({'"\\': 1}, NO_TENANT_ID.replace("tenant_id", r'"\"\\"', 1)),
    ({"": 1}, NO_TENANT_ID.replace("tenant_id", '""', 1)),
]
OF_BODIES: list[tuple[type[BaseModel], object, str]] = [
    (NewEvent, [], "the body must be an object, and was a list"),
    (NewEvent, {}, "account_id is missing (and 3 more)"),
    (NewBatch, {"events": []}, f"events must have 1 to {BATCH_EVENTS_MAX} items, and had 0"),
    (NewBatch, {"events": [7]}, "events.0 must be an object, and was 7"),
    (
        NewBatch,
        {"events": [{**NEW_EVENT_EXAMPLE, "event_type": "charge"}] * 2},
        f"events.0: {LIKE_EVENT_TYPE}charge (and 1 more)",
    ),
    (NewTransaction, {"legs": [NEW_EVENT_EXAMPLE]}, "legs must have 2 to 100 items, and had 1"),
    (
        NewTransaction,
        {"legs": [NEW_EVENT_EXAMPLE] * 2},
        "legs must sum to zero in each currency, and in USD sum to 4000",
    ),
    (
        NewHold,
        {"account_id": "cus_42", "currency": "USD", "amount_minor": -1},
        f"amount_minor must be between 1 and {BIGGEST}, and was -1",
    ),
    (NewCapture, {"amount_minor": "1"}, f'{LIKE_AMOUNT}"1"'),
    (NewRelease, {"reason": "x"}, "there is no member reason: the body has none"),
    (NewTenant, {"tenant_id": "Acme", "name": "Acme"}, f"{LIKE_TENANT_ID}Acme"),
    (
        NewTenant,
        {"tenant_id": "acme", "name": "Acme", "isolation": "row"},
        "isolation must be database, and was row",
    ),
    (NewApiKey, {"scopes": []}, "scopes must have at least 1 item, and had 0"),
    (NewApiKey, {"scopes": ["read", "read"]}, "scopes must not name a scope twice"),
    (
        NewApiKey,
        {"scopes": ["root"]},
        "scopes.0 must be ingest, read, audit or export, and was root",
    ),
    (
        TenantLimits,
        {"requests_max": 2.5},
        "requests_max must be an integer between 1 and 10000, and was 2.5",
    ),
    (NewRestore, {}, "give one of to, to_seq and backup_id"),
    (NewRestore, {"backup_id": "x"}, f"backup_id must be a UUID, such as {UUID}, and was x"),
    (NewRestore, {"to_seq": 1, "preview": 1}, "preview must be true or false, and was 1"),
]
OF_QUERIES: list[tuple[type[NoQuery], str, str]] = [
    (EventListQuery, "limit=5000", "limit must be between 1 and 1000, and was 5000"),
    (
        EventListQuery,
        "limit=many",
        "limit must be an integer of at most 38 digits, in digits only, and was many",
    ),
    (EventListQuery, "limit=1&limit=2", "limit is given more than once"),
    (EventListQuery, "order=up", "order must be asc or desc, and was up"),
    (
        EventListQuery,
        "from=2026-03-01",
        LIKE_TIME.replace("transaction_time", "from") + "2026-03-01",
    ),
    (
        EventListQuery,
        "from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z",
        "from must not be after to",
    ),
    (EventListQuery, "colour=red", NO_COLOUR),
    (BalanceListQuery, "limt=2", "there is no parameter limt: perhaps limit is meant"),
    (BalanceListQuery, "min=2&max=1", "min must not be above max, and they were 2 and 1"),
    (ActivityQuery, "bucket=year", "bucket must be hour, day or month, and was year"),
    (
        ActivityQuery,
        "bucket=day&time_zone=berlin",
        "time_zone must be a time zone of the IANA database, such as Europe/Berlin, and was berlin",
    ),
    (ActivityQuery, "", "bucket is missing"),
    (NoQuery, "a=1", "there is no parameter a: the query string has none"),
]


def refused(model: type[BaseModel], body: bytes) -> DomainError:
    with pytest.raises(DomainError) as raised:
        parse(model, body)
    return raised.value


def asked(query_string: bytes) -> HttpRequest:
    return HttpRequest({"type": "http", "query_string": query_string, "headers": []})


@pytest.mark.parametrize(("wrong", "detail"), OF_AN_EVENT)
def test_an_event_is_refused_in_words_that_name_member_rule_and_value(
    wrong: dict[str, Any], detail: str
) -> None:
    problem = refused(NewEvent, json.dumps({**NEW_EVENT_EXAMPLE, **wrong}).encode())
    assert [error.detail for error in problem.errors] == [detail]
    assert problem.detail == detail


def test_the_catalogues_example_is_what_is_answered() -> None:
    body = {**NEW_EVENT_EXAMPLE, "event_type": "charge"}
    del body["currency"]
    problem, example = refused(NewEvent, json.dumps(body).encode()), BY_SLUG["validation-failed"]
    assert problem_document(problem) == problem_document(example.example)


@pytest.mark.parametrize(("model", "body", "detail"), OF_BODIES)
def test_other_bodies_are_refused_in_the_same_words(
    model: type[BaseModel], body: object, detail: str
) -> None:
    assert refused(model, json.dumps(body).encode()).detail == detail


@pytest.mark.parametrize(("model", "query_string", "detail"), OF_QUERIES)
def test_a_query_string_is_refused_in_the_same_words(
    model: type[NoQuery], query_string: str, detail: str
) -> None:
    with pytest.raises(DomainError) as raised:
        read_query(model, asked(query_string.encode()))
    assert raised.value.detail == detail


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b" ", "the body is empty: send JSON"),
        (b"{", "this is not JSON: EOF while parsing an object at line 1 column 1"),
        (b'{"a": 1,}', "this is not JSON: trailing comma at line 1 column 9"),
    ],
)
def test_what_is_no_json_is_refused_with_the_place(body: bytes, detail: str) -> None:
    assert refused(NewEvent, body).detail == detail


def test_a_line_of_an_import_names_its_first_faults() -> None:
    line = Line(3, json.dumps({f"member_{number}": 0 for number in range(60)}).encode())
    with pytest.raises(DomainError) as raised:
        read_event(line)
    entry = rejected(line.number, raised.value)
    assert len(entry.errors) == 10
    assert entry.errors[0].detail == "account_id is missing"
    with pytest.raises(DomainError, match="the line must be an object, and was a list"):
        read_event(Line(4, b"[]"))


def models_below(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for model in base.__subclasses__():
        if not model.__module__.startswith(("freehold.", *(f"{name}." for name in SERVICES))):
            continue
        yield model
        yield from models_below(model)


def import_services() -> None:
    for name in SERVICES:
        package = importlib.import_module(name)
        for found in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)


import_services()
REQUESTS = sorted(set(models_below(events.Request)), key=str)
QUERIES = sorted([NoQuery, *set(models_below(NoQuery))], key=str)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**25), 10**25)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "2026-02-30T00:00:00Z", "\u202e", "\x85", API_KEY, READ_TOKEN])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=700),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values),
    max_leaves=5,
)


def check(problem: DomainError) -> None:
    """Hold an error's texts to what a person can read in one line, and may see."""
    for text in (problem.detail, *(error.detail for error in problem.errors)):
        assert not FRAMEWORK.search(text), text
        assert text.isprintable(), text
        assert len(text) < DETAIL_CHARACTERS_MAX, text
        assert "5ec2e7" not in text
        assert "c2VjcmV0" not in text


@pytest.mark.parametrize("model", REQUESTS, ids=lambda model: model.__name__)
@settings(max_examples=25)
@given(data=st.data())
def test_no_body_is_refused_in_a_frameworks_words(
    model: type[BaseModel], data: st.DataObject
) -> None:
    extra: Any = model.model_config["json_schema_extra"]
    body: Any = dict(data.draw(st.sampled_from(extra["examples"])))
    names = st.sampled_from([*names_of(model), "colour", "\n", "[key]"]) | st.text(max_size=70)
    for name in data.draw(st.sets(names, max_size=4)):
        if data.draw(st.booleans()):
            body[name] = data.draw(VALUES)
        else:
            body.pop(name, None)
    for list_name in {"events", "legs"} & set(body):
        if isinstance(body[list_name], list):
            event = {**NEW_EVENT_EXAMPLE, data.draw(names): data.draw(VALUES)}
            body[list_name] = [*body[list_name], event]
    try:
        parse(model, json.dumps(data.draw(st.sampled_from([body, body, [body]]))).encode())
    except DomainError as problem:
        check(problem)


@pytest.mark.parametrize("model", QUERIES, ids=lambda model: model.__name__)
@settings(max_examples=25)
@given(data=st.data())
def test_no_query_string_is_refused_in_a_frameworks_words(
    model: type[NoQuery], data: st.DataObject
) -> None:
    names = st.sampled_from([*names_of(model), "metadata.a", "colour"]) | st.text(max_size=70)
    texts = st.sampled_from(["1", "usd", "2026-03-01T12:00:00Z", API_KEY]) | st.text(max_size=600)
    given = data.draw(st.dictionaries(names, texts, max_size=4))
    try:
        read_query(model, asked(str(httpx.QueryParams(given)).encode()))
    except DomainError as problem:
        check(problem)


def test_every_model_of_a_request_is_among_those_that_are_tried() -> None:
    assert {NewEvent, NewBatch, imports.ImportLine, transactions.NewTransaction} < set(REQUESTS)
    assert len(REQUESTS) >= 18
    assert len(QUERIES) >= 12
