"""Reading a body costs about what a valid one of its size does, whatever is wrong with it."""

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from freehold.contracts.events import (
    BATCH_EVENTS_MAX,
    NEW_EVENT_EXAMPLE,
    NewBatch,
    NewEvent,
)
from freehold.contracts.imports import LINE_BYTES_MAX, ImportLine
from freehold.contracts.migrations import NewMigration
from freehold.contracts.problems import Problem
from freehold.contracts.tenants import NewApiKey, NewTenant
from freehold.contracts.transactions import NewTransaction
from freehold.service import shapes
from freehold.service.bodies import parse
from freehold.service.lines import Line, read_event
from freehold_ingest.envelopes import is_batch

BODY_BYTES = 2 * 2**20
EXTRA_BYTES_MAX = 2 * 2**20
EVENT = json.dumps(NEW_EVENT_EXAMPLE)
BAD_EVENT = json.dumps({**NEW_EVENT_EXAMPLE, "amount_minor": 0})
FULLEST: dict[str, Any] = {
    **NEW_EVENT_EXAMPLE,
    "metadata": {f'{number} "\\{{[,:': '",{[\\' * 100 for number in range(50)},
}

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda values: st.lists(values) | st.dictionaries(st.sampled_from(["a", "]"]), values),
)


def repeated(form: str, size: int = BODY_BYTES) -> str:
    """Write a part over and over, numbered if it has a place for it, up to about that size."""
    parts = range(size // (len(form.format(100_000)) + 1))
    return ",".join([form.format(number) for number in parts])


MEMBERS = repeated('"{}":0')
LISTS = repeated("[]")
OBJECTS = repeated("{{}}")


def refused(model: type[BaseModel], text: str) -> Problem:
    with pytest.raises(Problem) as raised:
        parse(model, text.encode())
    return raised.value


def places(problem: Problem) -> list[str]:
    return [error["pointer"] for error in problem.members["errors"]]


@pytest.mark.parametrize(
    ("model", "text", "place", "detail"),
    [
        (NewEvent, f"{{{MEMBERS}}}", "", "more than 17 members"),
        (NewEvent, f'{{"metadata":{{{MEMBERS}}}}}', "/metadata", "more than 50 members"),
        (NewEvent, f"[{LISTS}]", "", "must not be a list"),
        (NewEvent, f'{{"a":[{OBJECTS}]}}', "/a", "must be neither"),
        (NewEvent, f'{{"account_id":[{LISTS}]}}', "/account_id", "must be neither"),
        (NewBatch, f'{{"events":[{OBJECTS}]}}', "/events", "more than 10000 items"),
        (NewBatch, f'{{"events":[{LISTS}]}}', "/events/0", "must not be a list"),
        (NewBatch, f'{{"events":{{{MEMBERS}}}}}', "/events", "must not be an object"),
        (NewBatch, f'{{"events":[{EVENT},{{{MEMBERS}}}]}}', "/events/1", "more than 17 members"),
        (NewTransaction, f'{{"legs":[{OBJECTS}]}}', "/legs", "more than 100 items"),
    ],
)
def test_more_than_there_is_a_place_for_is_refused_at_its_place(
    model: type[BaseModel], text: str, place: str, detail: str
) -> None:
    body = text.encode()
    tracemalloc.start()
    try:
        with pytest.raises(Problem) as raised:
            parse(model, body)
        assert tracemalloc.get_traced_memory()[1] < EXTRA_BYTES_MAX
    finally:
        tracemalloc.stop()
    assert raised.value.kind.slug == "validation-failed"
    (error,) = raised.value.members["errors"]
    assert error["pointer"] == place
    assert detail in error["detail"]


@pytest.mark.parametrize(
    "text", ["[" * BODY_BYTES, '{"a":' * (BODY_BYTES // 5), '{"metadata":' + '[{"a": ' * 300_000]
)
def test_what_is_deeper_than_any_json_that_is_read_is_not_read(text: str) -> None:
    tracemalloc.start()
    try:
        assert refused(NewEvent, text).kind.slug == "malformed-json"
        assert tracemalloc.get_traced_memory()[1] < EXTRA_BYTES_MAX + 2 * BODY_BYTES
    finally:
        tracemalloc.stop()


def test_a_batch_of_bad_events_is_looked_at_until_a_hundred_faults_are_found() -> None:
    bad = json.dumps({str(number): {"a": 0} for number in range(7)})
    body = f'{{"events": [{", ".join([bad] * BATCH_EVENTS_MAX)}]}}'.encode()
    parse(NewBatch, f'{{"events": [{EVENT}]}}'.encode())
    tracemalloc.start()
    try:
        with pytest.raises(Problem) as raised:
            parse(NewBatch, body)
        # Its events are kept once, as those of a valid batch are, and not its 110,000 faults.
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    finally:
        tracemalloc.stop()
    assert len(places(raised.value)) == 100
    assert raised.value.detail.endswith("(and at least 100 more)")


def test_a_line_of_unknown_members_has_one_fault() -> None:
    line = "{" + repeated('"{}":0', LINE_BYTES_MAX - 2) + "}"
    with pytest.raises(Problem) as raised:
        read_event(Line(1, line.encode()))
    assert places(raised.value) == [""]


def test_a_message_is_not_read_before_it_is_known_that_it_can_be() -> None:
    body = f'{{"events":[{OBJECTS}]}}'.encode()
    tracemalloc.start()
    try:
        assert is_batch(body)
        assert tracemalloc.get_traced_memory()[1] < EXTRA_BYTES_MAX
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("others", [0, 1_000])
@pytest.mark.parametrize(("model", "name"), [(NewBatch, "events"), (NewTransaction, "legs")])
def test_all_bad_events_are_told_of(model: type[BaseModel], name: str, others: int) -> None:
    others = min(others, 90 if model is NewTransaction else others)
    wrong = json.dumps({**NEW_EVENT_EXAMPLE, "currency": "?", "colour": "red"})
    items = [EVENT, BAD_EVENT, wrong, *[EVENT] * others, BAD_EVENT]
    problem = refused(model, f'{{"{name}": [{", ".join(items)}], "colour": "red"}}')
    assert sorted(places(problem)) == sorted(
        [
            f"/{name}/1/amount_minor",
            f"/{name}/2/colour",
            f"/{name}/2/currency",
            f"/{name}/{3 + others}/amount_minor",
            "/colour",
        ]
    )


@pytest.mark.parametrize("bad", [1, 2, 100, 101])
def test_up_to_a_hundred_faults_are_listed_and_counted(bad: int) -> None:
    text = f'{{"events": [{", ".join([EVENT] * 1_000 + [BAD_EVENT] * bad)}]}}'
    problem = refused(NewBatch, text)
    assert places(problem) == [
        f"/events/{1_000 + number}/amount_minor" for number in range(min(bad, 100))
    ]
    assert problem.detail.removeprefix("events.1000.amount_minor: an amount must not be zero") == {
        1: "",
        2: " (and 1 more)",
        100: " (and 99 more)",
        101: " (and at least 100 more)",
    }.get(bad)


def test_the_fullest_batch_there_may_be_is_taken() -> None:
    small = {**NEW_EVENT_EXAMPLE, "metadata": {str(number): "" for number in range(50)}}
    for event, number in ((FULLEST, 100), (small, BATCH_EVENTS_MAX)):
        body = json.dumps({"events": [event] * number}, indent=1).encode()
        assert parse(NewBatch, body).events == [NewEvent(**event)] * number


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda text: text[:-1],
        lambda text: text[: len(text) // 2],
        lambda text: text + "x",
        lambda text: text.replace('", "', '" "', 1),
        lambda text: text.replace(": 2000", ": ", 1),
        lambda text: text.replace('"USD"', '"USD', 1),
        lambda text: text.replace("}, {", "} {", 1),
        lambda text: text.replace("}}, {", "}]], {", 1),
    ],
)
def test_what_is_no_json_is_said_to_be_none_however_much_it_is(
    spoilt: Callable[[str], str],
) -> None:
    text = spoilt(f'{{"events": [{", ".join([EVENT] * 1_000)}]}}')
    assert refused(NewBatch, text).kind.slug == "malformed-json"


@pytest.mark.parametrize(
    "model", [NewEvent, ImportLine, NewBatch, NewTransaction, NewTenant, NewApiKey, NewMigration]
)
@given(data=st.data())
def test_what_a_model_takes_is_never_too_much(model: type[BaseModel], data: st.DataObject) -> None:
    extra: Any = model.model_config["json_schema_extra"]
    body = dict(data.draw(st.sampled_from(extra["examples"])))
    for name in data.draw(st.sets(st.sampled_from([*body, "colour"]))):
        body[name] = data.draw(JSON_VALUES)
    text = json.dumps(body, indent=data.draw(st.sampled_from([None, 1])), ensure_ascii=False)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shapes, "has_many_values", lambda _: True)
        found = shapes.excess(model, text.encode())
    if found:
        with pytest.raises(ValidationError):
            model.model_validate_json(text)
