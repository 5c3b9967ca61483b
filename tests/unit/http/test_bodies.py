"""Reading a body costs about what a valid one of its size does, whatever is wrong with it."""

import json
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from freehold.contracts.errors import DomainError, ValidationFailed
from freehold.contracts.events import BATCH_EVENTS_MAX, NEW_EVENT_EXAMPLE, NewBatch, NewEvent
from freehold.contracts.imports import LINE_BYTES_MAX, ImportLine
from freehold.contracts.transactions import NewTransaction
from freehold.http import bounds
from freehold.http.bodies import parse
from freehold.http.errors import MalformedJson
from freehold.http.lines import Line, read_event
from freehold_ingest.envelopes import is_batch
from freehold_tenant_manager.contracts.migrations import NewMigration
from freehold_tenant_manager.contracts.tenants import NewApiKey, NewTenant

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


@contextmanager
def memory_below(bytes_max: int) -> Iterator[None]:
    """Check that no more memory than this is taken at any time."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < bytes_max
    finally:
        tracemalloc.stop()


def refused(model: type[BaseModel], text: str) -> DomainError:
    with pytest.raises(DomainError) as raised:
        parse(model, text.encode())
    return raised.value


def places(problem: DomainError) -> list[str]:
    return [error.pointer for error in problem.errors]


@pytest.mark.parametrize(
    ("model", "text", "place"),
    [
        (NewEvent, f"{{{MEMBERS}}}", ""),
        (NewEvent, f'{{"metadata":{{{MEMBERS}}}}}', "/metadata"),
        (NewEvent, f"[{LISTS}]", ""),
        (NewEvent, f'{{"a":[{OBJECTS}]}}', "/a"),
        (NewEvent, f'{{"account_id":[{LISTS}]}}', "/account_id/0"),
        (NewBatch, f'{{"events":[{OBJECTS}]}}', "/events"),
        (NewBatch, f'{{"events":[{LISTS}]}}', "/events/0"),
        (NewBatch, f'{{"events":{{{MEMBERS}}}}}', "/events"),
        (NewBatch, f'{{"events":[{EVENT},{{{MEMBERS}}}]}}', "/events/1"),
        (NewBatch, f'{{"events":[{EVENT},{{"metadata":{{{MEMBERS}}}}}]}}', "/events/1/metadata"),
        (NewTransaction, f'{{"legs":[{OBJECTS}]}}', "/legs"),
    ],
)
def test_a_body_with_too_many_members_is_refused_unread(
    model: type[BaseModel], text: str, place: str
) -> None:
    body = text.encode()
    with memory_below(EXTRA_BYTES_MAX), pytest.raises(DomainError) as raised:
        parse(model, body)
    assert raised.value.slug == "validation-failed"
    (error,) = raised.value.errors
    assert error.pointer == place
    assert "more than 64 members in an object" in error.detail


def test_a_list_that_is_somewhat_too_long_is_refused_at_its_place() -> None:
    for model, name, most in (
        (NewBatch, "events", BATCH_EVENTS_MAX),
        (NewTransaction, "legs", 100),
    ):
        problem = refused(model, f'{{"{name}": [{", ".join([EVENT] * (most + 1))}]}}')
        assert places(problem) == [f"/{name}"]
        assert f"to {most} items, and had {most + 1}" in problem.detail
    metadata = json.dumps({str(number): "" for number in range(51)})
    problem = refused(NewEvent, EVENT.replace('{"plan": "pro"}', metadata))
    assert places(problem) == ["/metadata"]
    assert "at most 50 members, and had 51" in problem.detail


@pytest.mark.parametrize(
    "text", ["[" * BODY_BYTES, '{"a":' * (BODY_BYTES // 5), '{"metadata":' + '[{"a": ' * 300_000]
)
def test_what_is_deeper_than_any_json_that_is_read_is_not_read(text: str) -> None:
    with memory_below(EXTRA_BYTES_MAX + 2 * BODY_BYTES):
        assert refused(NewEvent, text).slug == "malformed-json"


def test_a_batch_of_bad_events_is_looked_at_until_a_hundred_faults_are_found() -> None:
    bad = json.dumps({str(number): {"a": 0} for number in range(7)})
    body = f'{{"events": [{", ".join([bad] * BATCH_EVENTS_MAX)}]}}'.encode()
    parse(NewBatch, f'{{"events": [{EVENT}]}}'.encode())
    # Its events are kept once, as those of a valid batch are, and not its 110,000 faults.
    with memory_below(50 * 2**20), pytest.raises(DomainError) as raised:
        parse(NewBatch, body)
    assert len(places(raised.value)) == 100
    assert raised.value.detail.endswith("(and at least 100 more)")


def test_a_line_of_unknown_members_has_one_fault() -> None:
    line = "{" + repeated('"{}":0', LINE_BYTES_MAX - 2) + "}"
    with pytest.raises(DomainError) as raised:
        read_event(Line(1, line.encode()))
    assert places(raised.value) == [""]


def test_a_message_is_a_batch_by_its_member_events() -> None:
    for body in (b'{"events": 1}', b'{"a": [{"b": 1}], "\\u0065vents": null}'):
        assert is_batch(body)
    for body in (
        EVENT.encode(),
        b'{"a": {"events": []}}',
        b'["events"]',
        b'{"events": [}',
        b"[" * 9_999,
    ):
        assert not is_batch(body)


def test_a_message_is_not_read_before_it_is_known_that_it_can_be() -> None:
    body = f'{{"events":[{OBJECTS}]}}'.encode()
    with memory_below(EXTRA_BYTES_MAX):
        assert is_batch(body)


@pytest.mark.parametrize("others", [0, 1_000])
@pytest.mark.parametrize(("model", "name"), [(NewBatch, "events"), (NewTransaction, "legs")])
def test_all_bad_events_are_named(model: type[BaseModel], name: str, others: int) -> None:
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


TWICE = {
    "a member": (NewEvent, EVENT[:-1] + ', "amount_minor": 500}', "/amount_minor"),
    "the same": (NewEvent, EVENT[:-1] + ', "amount_minor": 2000}', "/amount_minor"),
    "in other letters": (NewEvent, EVENT[:-1] + ', "\\u0061mount_minor": 500}', "/amount_minor"),
    "apart from its colon": (NewEvent, EVENT[:-1] + ', "amount_minor"\t: 500}', "/amount_minor"),
    "on two lines": (NewEvent, EVENT[:-1] + ', "amount_minor"\r\n: 500}', "/amount_minor"),
    "hidden by a text": (
        NewEvent,
        EVENT[:-1].replace('"ch_1"', '"\\":"') + ', "external_id" : "ch_1"}',
        "/external_id",
    ),
    "a null": (NewEvent, EVENT[:-1] + ', "metadata": null}', "/metadata"),
    "inside": (
        NewEvent,
        EVENT.replace('{"plan": "pro"}', '{"a/b": "1", "plan": "pro", "a/b": "1"}'),
        "/metadata/a~1b",
    ),
    "of a batch": (NewBatch, f'{{"events": [{EVENT}], "events": [{EVENT}]}}', "/events"),
    "in a batch": (
        NewBatch,
        f'{{"events": [{EVENT}, {EVENT[:-1]}, "currency": "EUR"}}]}}',
        "/events/1/currency",
    ),
    "in a leg": (
        NewTransaction,
        f'{{"legs": [{EVENT}, {EVENT[:-1]}, "external_id": "ch_2"}}]}}'.replace("2000", "-2000", 1),
        "/legs/1/external_id",
    ),
    "of a tenant": (
        NewTenant,
        '{"tenant_id":"a-1","name":"A","name":"B","region":"local","isolation":"database"}',
        "/name",
    ),
    "of a line": (ImportLine, EVENT[:-1] + ', "external_id":"ch_2"}', "/external_id"),
}


@pytest.mark.parametrize(("model", "text", "pointer"), TWICE.values(), ids=TWICE)
def test_a_member_that_stands_twice_is_refused_at_its_place(
    model: type[BaseModel], text: str, pointer: str
) -> None:
    problem = refused(model, text)
    assert places(problem) == [pointer]
    assert "more than once" in problem.detail


SPACE = st.text(" \t\r\n", max_size=2)
NAMES = st.text('a":\\ ,é', min_size=1, max_size=3)


@given(
    pairs=st.lists(st.tuples(NAMES, st.text('a":\\ ,{}', max_size=9)), max_size=5),
    before=SPACE,
    behind=SPACE,
    escaped=st.booleans(),
)
def test_repeated_members_are_found_among_any_texts(
    pairs: list[tuple[str, str]], before: str, behind: str, *, escaped: bool
) -> None:
    def written(text: str) -> str:
        return json.dumps(text, ensure_ascii=escaped)

    members = ",".join(f"{written(name)}{before}:{behind}{written(value)}" for name, value in pairs)
    text = f'{{"metadata":{{{members}}}, {EVENT[1:-1].rpartition(",")[0]}}}'
    if len(dict(pairs)) == len(pairs):
        assert parse(NewEvent, text.encode()).metadata == dict(pairs)
    else:
        assert "more than once" in refused(NewEvent, text).detail


@pytest.mark.parametrize(
    "body",
    [
        EVENT.encode("utf-16"),
        b"\xef\xbb\xbf" + EVENT.encode(),
        EVENT.replace("cus_42", "\\ud800").encode(),
        EVENT.encode().replace(b"cus_42", b"\xff"),
        EVENT.replace("2000", "9" * 5_000).encode(),
        EVENT.replace("2000", "9" * 4_299).encode(),
        EVENT.replace("2000", "NaN").encode(),
        EVENT.replace("2000", "1e999").encode(),
        EVENT.replace("2000", "-0").encode(),
        b"[" * 100_000,
        b"",
        b"null",
    ],
)
@pytest.mark.parametrize("form", ["%b", '{"events": [{}, %b]}'])
def test_every_other_body_is_refused_with_a_sentence(body: bytes, form: str) -> None:
    model = NewEvent if form == "%b" else NewBatch
    with pytest.raises(DomainError) as raised:
        parse(model, form.encode() % body)
    assert isinstance(raised.value, MalformedJson | ValidationFailed)


@pytest.mark.parametrize("bad", [1, 2, 100, 101])
def test_up_to_a_hundred_faults_are_listed_and_counted(bad: int) -> None:
    text = f'{{"events": [{", ".join([EVENT] * 1_000 + [BAD_EVENT] * bad)}]}}'
    problem = refused(NewBatch, text)
    assert places(problem) == [
        f"/events/{1_000 + number}/amount_minor" for number in range(min(bad, 100))
    ]
    assert problem.detail.removeprefix("events.1000: amount_minor must not be zero") == {
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
def test_what_is_no_json_is_malformed_whatever_its_size(spoilt: Callable[[str], str]) -> None:
    text = spoilt(f'{{"events": [{", ".join([EVENT] * 1_000)}]}}')
    assert refused(NewBatch, text).slug == "malformed-json"


@pytest.mark.parametrize(
    "model", [NewEvent, ImportLine, NewBatch, NewTransaction, NewTenant, NewApiKey, NewMigration]
)
@given(data=st.data())
def test_what_a_model_takes_is_within_the_bounds(
    model: type[BaseModel], data: st.DataObject
) -> None:
    extra: Any = model.model_config["json_schema_extra"]
    body = dict(data.draw(st.sampled_from(extra["examples"])))
    for name in data.draw(st.sets(st.sampled_from([*body, "colour"]))):
        body[name] = data.draw(JSON_VALUES)
    text = json.dumps(body, indent=data.draw(st.sampled_from([None, 1])), ensure_ascii=False)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bounds, "_VALUES_UNSEEN_MAX", 0)
        found = bounds.excess(text.encode())
    if found:
        with pytest.raises(ValidationError):
            model.model_validate_json(text)
