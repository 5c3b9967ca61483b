"""Which media type an answer has, by what its client accepts."""

import pytest

from freehold.http.errors import NotAcceptable
from freehold.http.media_types import preferred

JSON, CSV, PDF = OFFERED = ("application/json", "text/csv", "application/pdf")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ([], JSON),
        ([""], JSON),
        (["*/*"], JSON),
        (["text/csv"], CSV),
        (["TEXT/CSV; charset=utf-8; header=present"], CSV),
        (["text/*"], CSV),
        (["application/*"], JSON),
        (["application/pdf, application/json"], JSON),
        (["application/pdf", "application/json;q=0.9"], PDF),
        (["application/json;q=0.5, text/csv;q=0.8,application/pdf ; Q=0.801"], PDF),
        # The most specific range counts, not the first or the highest.
        (["*/*, application/json;q=0.1, application/*;q=0.2"], CSV),
        (["application/json;q=0, */*;q=0.001"], CSV),
        (["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], JSON),
        (["text/csv;q=high, application/json;q=0.9"], CSV),
        (['text/csv;x="a,b";q=0.2, application/pdf;q=0.1'], CSV),
    ],
)
def test_the_type_is_the_one_that_the_client_likes_best(accept: list[str], chosen: str) -> None:
    assert preferred(OFFERED, accept) == chosen


@pytest.mark.parametrize(
    "accept", ["text/html", "image/*", "text/csv;q=0", "*/*;q=0", "json/application"]
)
def test_what_is_not_offered_is_not_acceptable(accept: str) -> None:
    with pytest.raises(NotAcceptable, match="text/csv"):
        preferred(OFFERED, [accept])
