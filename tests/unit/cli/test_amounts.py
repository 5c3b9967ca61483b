"""Amounts mean the same in CSV as in JSON: what JSON does not take for an integer is refused."""

import io

import pytest

from freehold.contracts.errors import DomainError
from freehold.contracts.imports import RejectedLine
from freehold.http.lines import Line, read_event, rejected
from freehold_cli.imports.event_file import EventFile, Format

HEADER = "external_id,account_id,event_type,currency,amount_minor"


@pytest.mark.parametrize("amount", ["100", "-100", "9223372036854775807", "-9223372036854775808"])
def test_an_integer_is_read(amount: str) -> None:
    (entry,) = rows(amount)
    assert isinstance(entry, Line)
    assert read_event(entry).amount_minor == int(amount)


@pytest.mark.parametrize(
    "amount",
    [
        *(
            "+100",
            "0100",
            "-0100",
            " 100",
            "100 ",
            "1_000",
            "1,000",
            "1e3",
            "100.0",
            "100.",
            "0x64",
        ),
        *("--5", "- 5", "-", "", "0", "-0", "NaN", "Infinity", "true", "null"),
        *("\u2212100", "\uff11\uff10\uff10", "\u0661\u0660\u0660", "100\u00a0"),
        *("9223372036854775808", "9" * 99, "9" * 10_000),
    ],
)
def test_all_else_is_refused_with_the_place(amount: str) -> None:
    (entry,) = rows(amount)
    if isinstance(entry, Line):
        with pytest.raises(DomainError) as refused:
            read_event(entry)
        entry = rejected(entry.number, refused.value)
    assert (entry.line, [error.pointer for error in entry.errors]) == (2, ["/amount_minor"])


def rows(amount: str) -> list[Line | RejectedLine]:
    """Give the rows of a file that has one event with an amount."""
    text = f'{HEADER}\na,cus_1,CHARGE,USD,"{amount}"\n'
    return list(EventFile(io.BytesIO(text.encode()), Format.CSV))
