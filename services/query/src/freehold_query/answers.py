"""Answers of reads: amounts as the client prefers, a tag that makes asking again cheap, gzip.

Conditional requests are those of RFC 9110, section 13.
"""

import gzip
import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any, TypeVar

import orjson
from fastapi import Request

from freehold.http.bodies import header_values
from freehold.http.direct import Reply
from freehold.http.preferences import amounts_as_preferred
from freehold.http.response_headers import documented_headers

CACHING = {
    "Cache-Control": "private, no-cache",
    "Vary": "Authorization, Prefer, Accept-Encoding, Origin",
}
"""A client may store an answer, and must revalidate it before each use."""
DOCUMENTED_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: documented_headers("ETag", "Preference-Applied"),
    304: {
        "description": "Unchanged since the ETag that If-None-Match names.",
        **documented_headers("ETag"),
    },
}
"""`responses` of a route that answers with `answer`, for OpenAPI."""

# What fits in one packet of the network is sent as it is.
_PACKED_FROM_BYTES = 1_400
# More would save a tenth of the bytes, and take twice the time.
PACKED_LEVEL = 1
# Not where its weight is zero (RFC 9110, section 12.5.3).
_TAKES_GZIP = re.compile(
    r"(?:^|,)\s*gzip\s*(?:;\s*q=(?!0(?:\.0*)?\s*(?:,|$))[0-9.]+\s*)?(?:,|$)", re.IGNORECASE
)
_TAG = re.compile(r'(?:W/)?("[^"]*")')

Row = TypeVar("Row")


def answer(request: Request, body: bytes, state: str | None = None) -> Reply:
    """Answer with a body of JSON, or with 304 if the client has it already.

    Args:
        request: The request.
        body: The document, with amounts as integers.
        state: What the document says, if other bytes may say the same.
    """
    plain = Reply(200, body, CACHING)
    reply = amounts_as_preferred(request, plain)
    # Amounts as strings are another document, and their answer has another tag.
    said = reply.body if state is None else f"{state} {reply is plain}".encode()
    tag = weak_tag(said)
    headers = {**reply.headers, "ETag": tag}
    if not none_match(header_values(request, b"if-none-match"), tag):
        return Reply(304, b"", headers)
    if len(reply.body) < _PACKED_FROM_BYTES or not takes_gzip(request):
        return Reply(200, reply.body, headers)
    headers["Content-Encoding"] = "gzip"
    return Reply(200, gzip.compress(reply.body, PACKED_LEVEL, mtime=0), headers)


def page_answer(
    request: Request,
    rows: Sequence[Row],
    rows_max: int,
    document: Callable[[Row], dict[str, Any]],
    cursor: Callable[[Row], str],
    stopped_at: Row | None = None,
) -> Reply:
    """Answer with a page of `rows_max` rows; one row more says that another page follows.

    So does `stopped_at`, of a read that did not come further in its time.
    """
    page = rows[:rows_max]
    last = page[-1] if len(rows) > rows_max else stopped_at
    return list_answer(request, map(document, page), None if last is None else cursor(last))


def list_answer(
    request: Request, documents: Iterable[dict[str, Any]], next_cursor: str | None
) -> Reply:
    """Answer with a page of a list."""
    return answer(request, orjson.dumps({"data": list(documents), "next_cursor": next_cursor}))


def weak_tag(state: bytes) -> str:
    """Make the tag of answers that say the same."""
    return f'W/"{sha256(state).hexdigest()[:32]}"'


def takes_gzip(request: Request) -> bool:
    """Say whether a client takes an answer that is packed with gzip."""
    return bool(_TAKES_GZIP.search(",".join(header_values(request, b"accept-encoding"))))


def none_match(if_none_match: Sequence[str], tag: str) -> bool:
    """Say whether no tag in If-None-Match is this one, by weak comparison (section 13.1.2)."""
    if not if_none_match:
        return True
    listed = ",".join(if_none_match)
    if listed.strip() == "*":
        return False
    return tag.removeprefix("W/") not in _TAG.findall(listed)
