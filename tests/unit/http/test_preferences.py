"""Amounts as strings: every amount, nothing else, whatever stands beside it."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from freehold.http.direct import Reply
from freehold.http.preferences import amounts_as_preferred

TRICKY = ['_minor":5', "a_minor", '\\_minor":1,"', '"amount_minor":7', "_minor\\"]
texts = st.text() | st.sampled_from(TRICKY)
amounts = st.integers(-(10**38), 10**38)
documents = st.fixed_dictionaries(
    {
        "amount_minor": amounts,
        "held_minor": st.none() | amounts,
        "seq": st.integers(0, 2**63 - 1),
        "metadata": st.dictionaries(texts, texts),
        "events": st.lists(st.fixed_dictionaries({"x_minor": amounts, "external_id": texts})),
    }
)


@given(documents)
def test_every_amount_is_a_string_and_nothing_else_changes(document: dict[str, Any]) -> None:
    body = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode(
        errors="surrogatepass"
    )
    answered = amounts_as_preferred(asking("amounts=string"), Reply(201, body, {"A": "b"}))
    expected = {
        **document,
        "amount_minor": str(document["amount_minor"]),
        "held_minor": document["held_minor"] and str(document["held_minor"]),
        "events": [{**each, "x_minor": str(each["x_minor"])} for each in document["events"]],
    }
    if document["held_minor"] == 0:
        expected["held_minor"] = "0"
    assert json.loads(answered.body) == expected
    assert answered.headers == {"A": "b", "Preference-Applied": "amounts=string"}


@pytest.mark.parametrize(
    "headers",
    [
        [],
        ["amounts"],
        ["amounts=number"],
        ["x=amounts=string"],
        ['x=", amounts=string'],
        ["amounts=number", "amounts=string"],
    ],
)
def test_amounts_stay_integers_where_nothing_else_is_preferred(headers: list[str]) -> None:
    reply = Reply(200, orjson.dumps({"amount_minor": 5}))
    assert amounts_as_preferred(asking(*headers), reply) == reply


@pytest.mark.parametrize(
    "headers",
    [
        ["Amounts = String"],
        ['amounts="string"; x=y'],
        ["respond-async", "wait=10, amounts=string, amounts=number"],
    ],
)
def test_a_preference_may_be_written_in_several_ways(headers: list[str]) -> None:
    reply = Reply(200, orjson.dumps({"amount_minor": 5}))
    assert amounts_as_preferred(asking(*headers), reply).body == b'{"amount_minor":"5"}'


def test_it_is_applied_beside_others() -> None:
    reply = Reply(201, b"{}", {"Preference-Applied": "return=minimal"})
    answered = amounts_as_preferred(asking("return=minimal, amounts=string"), reply)
    assert answered.headers["Preference-Applied"] == "return=minimal, amounts=string"


def asking(*preferences: str) -> Request:
    """A request with a Prefer header for each of some preferences."""
    headers = [(b"prefer", each.encode()) for each in preferences]
    return Request({"type": "http", "headers": headers})
