"""Statements on paper: whatever their texts and amounts are, they are printed."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any, cast

import pypdf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.ledger.client import Record
from freehold.ledger.statements import Period, Totals
from freehold_query.reads import Reads
from freehold_query.statements.pdf_document import pdf_document
from freehold_query.statements.statement import Statement
from support.homes import new_home

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LARGEST = 10**38 - 1

texts = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40)
amounts = st.integers(-LARGEST, LARGEST)


def line(external_id: str | None = None, amount_minor: int = 5) -> Record:
    row = {
        "transaction_time": NOON,
        "recorded_at": NOON,
        "event_type": "CHARGE",
        "external_id": external_id,
        "amount_minor": amount_minor,
        "balance_minor": amount_minor,
    }
    return cast("Record", row)


def printed(
    lines: Sequence[Record] = (),
    *,
    name: str = "Acme Ltd",
    account_id: str = "cus_42",
    since: datetime | None = None,
    until: datetime | None = None,
    newest_first: bool = False,
    amount_minor: int = 5,
) -> bytes:
    statement = Statement(
        cast("Reads", None),
        replace(new_home(), name=name),
        Period(account_id, "USD", "transaction_time", since, until),
        newest_first,
        Totals(0, amount_minor, 0, amount_minor, 7),
    )
    return pdf_document(statement, lines, NOON)


def pages(pdf: bytes) -> list[str]:
    return [page.extract_text() for page in pypdf.PdfReader(BytesIO(pdf)).pages]


@settings(max_examples=20)
@given(texts, texts, amounts)
def test_any_text_and_any_amount_can_be_printed(
    name: str, external_id: str, amount_minor: int
) -> None:
    (text,) = pages(printed([line(external_id)], name=name, amount_minor=amount_minor))
    whole, cents = divmod(abs(amount_minor), 100)
    assert f"{'-' if amount_minor < 0 else ''}{whole:,}.{cents:02}" in text


@pytest.mark.parametrize("name", ["Łódź Straße", "Αθήνα", "Київ", "Việt Nam", "e\u0301 № {nb}"])
def test_names_in_latin_greek_and_cyrillic_are_shown(name: str) -> None:
    (text,) = pages(printed(name=name))
    assert name.replace("e\u0301", "é") in text


def test_a_character_that_the_font_lacks_is_shown_as_a_box(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        pdf = printed([line("日本 1")], name="株式会社 Acme")
    (text,) = pages(pdf)
    assert "□□□□ Acme" in text
    assert "CHARGE  □□ 1" in text
    # Nor do the libraries log what they show, and what they cannot.
    assert not caplog.records


def test_a_long_id_is_cut_in_a_line_and_whole_at_the_head() -> None:
    (text,) = pages(printed([line("x" * 255)], account_id="a" * 255))
    assert text.replace("\n", "").count("a" * 255) == 1
    assert "x…" in text
    assert 20 < text.count("x") < 60


def test_the_same_statement_has_the_same_bytes() -> None:
    lines: list[Any] = [line(f"ch_{number}", number) for number in range(100)]
    assert printed(lines) == printed(lines)


@pytest.mark.parametrize("count", [0, 1, 30, 31, 32, 33, 34, 35, 36, 68, 69, 70, 71, 72, 200])
def test_every_line_is_on_one_page(count: int) -> None:
    texts = pages(printed([line(f"number-{number}.") for number in range(count)]))
    found = "\n".join(texts)
    assert all(found.count(f"number-{number}.") == 1 for number in range(count))
    assert found.count("Opening balance") == found.count("Closing balance") == 2
    for number, text in enumerate(texts, start=1):
        assert f"Page {number} of {len(texts)}" in text


def test_the_newest_line_may_be_the_first() -> None:
    lines = [line("second"), line("first")]
    (text,) = pages(printed(lines, newest_first=True))
    _, table = text.split("Balance\n")
    parts = ("Closing balance", "second", "first", "Opening balance")
    places = [table.index(part) for part in parts]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("since", "until", "text"),
    [
        (None, None, "From the first entry to the latest entry"),
        (NOON.replace(hour=0), None, "From 2026-03-01 to the latest entry"),
        (None, NOON.replace(hour=0), "From the first entry to 2026-02-28"),
        (
            NOON,
            NOON + timedelta(microseconds=1),
            "From 2026-03-01 12:00:00.000000 to before 2026-03-01 12:00:00.000001",
        ),
    ],
)
def test_the_period_is_told_in_whole_days_where_it_has_them(
    since: datetime | None, until: datetime | None, text: str
) -> None:
    assert f"Period {text} (UTC)" in pages(printed(since=since, until=until))[0]
