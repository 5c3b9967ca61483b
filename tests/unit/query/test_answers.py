"""A page of a list: its documents, and the cursor of the next page."""

import json
from typing import Any

from starlette.requests import Request

from freehold_query.answers import page_answer


def page(*rows: dict[str, Any], rows_max: int) -> Any:
    answer = page_answer(
        Request({"type": "http", "headers": []}),
        rows,
        rows_max,
        lambda row: {"a": row["a"]},
        lambda row: f"after {row['a']}",
    )
    return json.loads(answer.body)


def test_a_page_has_its_documents_and_the_cursor_of_the_next() -> None:
    assert page({"a": 1}, {"a": 2}, {"a": 3}, rows_max=2) == {
        "data": [{"a": 1}, {"a": 2}],
        "next_cursor": "after 2",
    }


def test_the_last_page_has_no_cursor() -> None:
    assert page({"a": 1}, {"a": 2}, rows_max=2) == {
        "data": [{"a": 1}, {"a": 2}],
        "next_cursor": None,
    }
    assert page(rows_max=2) == {"data": [], "next_cursor": None}
