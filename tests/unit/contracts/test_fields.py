"""The rules that api.md gives each field of a request, by good and by bad values.

Values are JSON text, as clients send it: JSON spells 2000 and 2000.0 differently.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from freehold.contracts.currency import MINOR_UNIT_EXPONENTS
from freehold.contracts.events import BATCH_EVENTS_MAX, NewBatch, NewEvent, NewReversal
from freehold.contracts.fields import readable, readable_or_empty

VALID = {
    "account_id": '"cus_42"',
    "event_type": '"CHARGE"',
    "amount_minor": "2000",
    "currency": '"USD"',
}


def body(**values: str) -> str:
    """A valid event with some fields replaced or added, each given as JSON text."""
    members = {**VALID, **values}
    return "{" + ", ".join(f'"{name}": {value}' for name, value in members.items()) + "}"


def accepted(name: str, value: str) -> Any:
    return getattr(NewEvent.model_validate_json(body(**{name: value})), name)


def assert_refused(name: str, value: str) -> None:
    with pytest.raises(ValidationError) as refused:
        NewEvent.model_validate_json(body(**{name: value}))
    assert {error["loc"][0] for error in refused.value.errors()} == {name}


def from_now(**distance: int) -> str:
    return (datetime.now(UTC) + timedelta(**distance)).isoformat()


GOOD: dict[str, list[object]] = {
    "amount_minor": [1, -1, 2000, 2**53 + 1, 2**63 - 1, -(2**63)],
    "account_id": ["a", "0", "A" * 255, "cus_42", "a.b_c:d@e-f", "9......", "user@example.com"],
    "event_type": ["A", "CHARGE", "A_1", "X" * 50, "A" + "_" * 49],
    "currency": ["USD", "EUR", "JPY", "BHD", "CLF", "CHF", "XAU", "XTS"],
    "external_id": ["x", "x" * 255, "ch_1", " ", "a b", "ключ", "😀" * 255, "\u2028", "a'\"\\b"],
    "metadata": [
        *({}, {"plan": "pro"}, {"k" * 40: "v" * 500}, {"😀" * 40: "😀" * 500}, {"empty": ""}),
        {f"key_{number}": "value" for number in range(50)},
    ],
}
BAD: dict[str, list[object]] = {
    "amount_minor": ["2000", "", True, False, None, [2000], {"minor": 2000}, 2**63, -(2**63) - 1],
    "account_id": [
        *("", "A" * 256, "_a", ".a", "-a", ":a", "@a", "a/b", "a%b", "a'b", "é", "aé", "a\u0663"),
        *("\u0661", "\uff41"),
        *("a b", " a", "a ", "a\n", "\na", "a\x00", 42, None, True, ["a"]),
    ],
    "event_type": [
        *("", "X" * 51, "charge", "Charge", "1A", "_A", "A-B", "Ä", "AÄ", "A B", "A\n"),
        *(1, None, ["A"]),
    ],
    "currency": [
        *("", "usd", "Usd", "US", "USDD", "ZZZ", "QQQ", "BTC", " USD", "USD ", "USD\n", "U D"),
        *(840, None),
    ],
    "external_id": ["", "x" * 256, "😀" * 256, 5, True, ["x"], {}],
    "metadata": [
        {f"key_{number}": "value" for number in range(51)},
        *({"k" * 41: "value"}, {"key": "v" * 501}),
        *({"key": 1}, {"key": 1.5}, {"key": None}, {"key": True}, {"key": ["value"]}),
        *({"key": {"deeper": "value"}}, [], ["key", "value"], [["key", "value"]], "key", 1),
    ],
    "transaction_time": [
        *("", "now", "2026-03-01", "12:00:00Z", "2026-03-01T12:00:00", "2026-03-01T12:00Z"),
        *("2026-03-01 12:00:00Z", "2026-03-01T12:00:00 Z", "2026-03-01T12:00:00+02"),
        *("2026-03-01T12:00:00+0200", "2026-03-01T12:00:00.Z", "2026-03-01T12:00:00,5Z"),
        *("2026-3-1T12:00:00Z", "26-03-01T12:00:00Z", "20260301T120000Z", "2026-W09-7T12:00:00Z"),
        *("2026-02-29T12:00:00Z", "2026-13-01T12:00:00Z", "2026-03-01T24:00:00Z"),
        *(
            "2026-03-01T12:60:00Z",
            "2016-12-31T23:59:60Z",
            "2026-03-01T12:00:00+25:00",
            " 2026-03-01T12:00:00Z",
        ),
        *("2026-03-01T12:00:00Z\n", "\uff12026-03-01T12:00:00Z", "1899-12-31T23:59:59Z"),
        *("1900-01-01T00:00:00+00:01", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59"),
        *("0000-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "1772366400", 1772366400),
        *(1772366400.5, 0, True, ["2026-03-01T12:00:00Z"]),
    ],
}
# Numbers that differ in their spelling, or in JSON itself, alone.
BAD_AMOUNTS = ["0", "-0", "0.0", "2000.0", "20.5", "2e3", "2E+3", "1e400", "NaN", "Infinity"]


def cases(table: dict[str, list[object]]) -> list[tuple[str, object]]:
    return [(field, value) for field, values in table.items() for value in values]


@pytest.mark.parametrize(("field", "value"), cases(GOOD))
def test_fields_take_their_values(field: str, value: object) -> None:
    assert accepted(field, json.dumps(value)) == value


@pytest.mark.parametrize(("field", "value"), cases(BAD))
def test_other_values_are_refused(field: str, value: object) -> None:
    assert_refused(field, json.dumps(value))


@pytest.mark.parametrize("amount", [*BAD_AMOUNTS, "1" + "0" * 400])
def test_amounts_that_are_no_64_bit_integers_are_refused(amount: str) -> None:
    assert_refused("amount_minor", amount)


def test_every_currency_has_three_capitals_and_a_known_exponent() -> None:
    assert len(MINOR_UNIT_EXPONENTS) > 160
    for code, exponent in MINOR_UNIT_EXPONENTS.items():
        assert len(code) == 3
        assert code.isascii()
        assert code.isalpha()
        assert code.isupper()
        assert exponent in {0, 2, 3, 4}
    some = {"USD": 2, "EUR": 2, "JPY": 0, "KWD": 3, "CLF": 4, "ISK": 0, "HUF": 2, "UYW": 4}
    assert some.items() <= MINOR_UNIT_EXPONENTS.items()


@pytest.mark.parametrize(
    ("text", "microsecond", "hour"),
    [
        ("2026-03-01T12:00:00Z", 0, 12),
        ("2026-03-01t12:00:00z", 0, 12),
        ("2026-03-01T12:00:00+00:00", 0, 12),
        ("2026-03-01T12:00:00-00:00", 0, 12),
        ("2026-03-01T12:00:00+02:00", 0, 10),
        ("2026-03-01T12:00:00-09:00", 0, 21),
        ("2026-03-01T12:00:00.5Z", 500_000, 12),
        ("2026-03-01T12:00:00.123456Z", 123_456, 12),
        ("2026-03-01T12:00:00.123456999Z", 123_456, 12),
    ],
)
def test_times_are_rfc_3339_and_become_utc(text: str, microsecond: int, hour: int) -> None:
    instant = accepted("transaction_time", json.dumps(text))
    assert instant == datetime(2026, 3, 1, hour, 0, 0, microsecond, tzinfo=UTC)
    assert instant.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "instant", ["1900-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z", "2000-02-29T00:00:00Z"]
)
def test_times_may_be_backdated(instant: str) -> None:
    assert accepted("transaction_time", json.dumps(instant)) == datetime.fromisoformat(instant)


def test_times_may_lie_ahead_for_less_than_a_day() -> None:
    assert accepted("transaction_time", json.dumps(from_now(hours=23))) > datetime.now(UTC)


@pytest.mark.parametrize("hours", [25, 24 * 365])
def test_times_further_ahead_are_refused(hours: int) -> None:
    assert_refused("transaction_time", json.dumps(from_now(hours=hours)))


CONTROL_CHARACTERS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))]


@pytest.mark.parametrize("character", CONTROL_CHARACTERS, ids=lambda text: f"U+{ord(text):04X}")
def test_control_characters_are_refused_everywhere(character: str) -> None:
    text = f"a{character}b"
    assert_refused("external_id", json.dumps(text))
    assert_refused("metadata", json.dumps({text: "value"}))
    assert_refused("metadata", json.dumps({"key": text}))
    assert_refused("account_id", json.dumps(text))
    assert_refused("event_type", json.dumps(f"A{character}"))
    with pytest.raises(ValidationError):
        NewReversal.model_validate_json(json.dumps({"reason": text}))


@pytest.mark.parametrize("half", [r'"\ud83d"', r'"a\ude00"'])
def test_half_a_surrogate_pair_is_refused(half: str) -> None:
    with pytest.raises(ValidationError):
        NewEvent.model_validate_json(body(external_id=half))
    with pytest.raises(ValidationError):
        NewEvent.model_validate_json(body(metadata=f'{{"key": {half}}}'))


@pytest.mark.parametrize("name", ["transaction_time", "external_id", "metadata"])
def test_optional_fields_may_be_null_or_left_out(name: str) -> None:
    assert accepted(name, "null") is None
    assert getattr(NewEvent.model_validate_json(body()), name) is None


@pytest.mark.parametrize("name", list(VALID))
def test_required_fields_may_be_neither(name: str) -> None:
    assert_refused(name, "null")
    members = {key: json.loads(value) for key, value in VALID.items() if key != name}
    with pytest.raises(ValidationError):
        NewEvent.model_validate_json(json.dumps(members))


@pytest.mark.parametrize("name", ["amount", "Currency", "tenant_id", "seq", "hash", "event_id", ""])
def test_unknown_fields_are_refused(name: str) -> None:
    assert_refused(name, '"x"')


@pytest.mark.parametrize("text", ["", "[]", "null", "1", '"event"', "{", "{}x", "[{}]"])
def test_what_is_no_event_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        NewEvent.model_validate_json(text)


@pytest.mark.parametrize("number", [1, BATCH_EVENTS_MAX])
def test_a_batch_holds_up_to_ten_thousand_events(number: int) -> None:
    text = '{"events": [' + ", ".join([body()] * number) + "]}"
    assert len(NewBatch.model_validate_json(text).events) == number == min(number, 10_000)


@pytest.mark.parametrize("number", [0, BATCH_EVENTS_MAX + 1])
def test_a_batch_is_neither_empty_nor_larger(number: int) -> None:
    with pytest.raises(ValidationError):
        NewBatch.model_validate_json('{"events": [' + ", ".join([body()] * number) + "]}")


def test_a_fault_in_a_batch_is_named_by_its_place() -> None:
    text = f'{{"events": [{body()}, {body(amount_minor="0")}]}}'
    with pytest.raises(ValidationError) as refused:
        NewBatch.model_validate_json(text)
    assert [error["loc"] for error in refused.value.errors()] == [("events", 1, "amount_minor")]


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"reason": null}',
        '{"reason": ""}',
        json.dumps({"reason": "r" * 500}),
        '{"reason": "charged twice", "transaction_time": "2026-03-02T09:00:00Z"}',
    ],
)
def test_a_reversal_may_say_why_and_when(text: str) -> None:
    reversal = NewReversal.model_validate_json(text)
    assert reversal.model_fields_set == set(json.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"reason": "r" * 501}),
        '{"reason": 5}',
        '{"reason": "a\\nb"}',
        '{"transaction_time": "2026-03-02"}',
        '{"amount_minor": 5}',
        "[]",
        "null",
    ],
)
def test_a_reversal_that_says_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        NewReversal.model_validate_json(text)


@pytest.mark.parametrize(
    "name",
    [
        *("Acme Ltd", "7", "\u00e9", "\u8cec\u7269", "\u05d0\u05d1", "!", "\U0001f6d2"),
        # A family, joined by what shows nothing itself, and Persian with a joiner within a word.
        *(
            "\U0001f468\u200d\U0001f469\u200d\U0001f467",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        ),
    ],
)
def test_a_name_may_be_in_any_script(name: str) -> None:
    assert readable(name) == readable_or_empty(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *(" ", "\u00a0\u3000", "\u200b", "\ufeff", "\u00ad"),
        *("\u0301", "\u20dd", "\u3164", "\u2800"),
        *("\u202e", "\u200f", "Acme \u202edtL", "Acme\u2066", "\u061c1", "Acme\u200e"),
        *("a\nb", "a\x00", "a\x1b[2J", "a\x85b", "a\u2028b", "\ue000", "\ufffe"),
    ],
)
def test_a_name_that_is_not_what_is_seen_of_it_is_refused(name: str) -> None:
    for rule in (readable, readable_or_empty):
        with pytest.raises(ValueError, match=r"^must "):
            rule(name)


def test_only_a_description_may_be_empty() -> None:
    assert readable_or_empty("") == ""
    with pytest.raises(ValueError, match="a letter"):
        readable("")
