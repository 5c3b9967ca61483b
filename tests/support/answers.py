"""What the contract says of every answer, and what a test reads of one."""

import re

import httpx

from freehold.http.catalogue import PROBLEM_TYPES
from support.documents import Document, resolved, validate

NOT_UNDONE: Document = {"reversed_by_event_id": None, "refunded_minor": 0, "refunds": []}
"""What an event's own page says beside the event while nothing has undone it."""

# Of pydantic and of Python, which speak to programmers.
FRAMEWORK = re.compile(
    r"\b(should (be|have|match|not)|Value error|Field required|Extra inputs|isoformat|valid string)"
    r"|Errno|Traceback|0x[0-9a-f]{8}"
)

_STATUS_OF = {kind.uri: kind.status for kind in PROBLEM_TYPES}
_SLUG = re.compile(r"/problems/[a-z0-9-]+")
# RFC 6901; the empty one is the whole document.
_POINTER = re.compile(r"(/([^~/]|~[01])*)*")


class Contract:
    """Holds every answer that a client gets to what the contract says of all answers.

    Args:
        http: The client.
    """

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._documents: dict[httpx.URL, Document] = {}
        """What each service says of itself, by the address of that."""
        http.event_hooks = {"response": [self._check]}

    async def _check(self, answer: httpx.Response) -> None:
        assert answer.headers["x-request-id"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert {"cache-control", "content-security-policy", "date"} <= set(answer.headers)
        assert "server" not in answer.headers
        has_document = answer.request.method != "HEAD" and answer.url.path != "/readyz"
        if answer.status_code >= 400 and has_document:
            await answer.aread()
            _check_problem(answer)
            await self._check_documented(answer)

    async def _check_documented(self, answer: httpx.Response) -> None:
        """Hold a problem to those that the service's documentation names for what was asked."""
        where = answer.url.join("/openapi.json")
        if where not in self._documents:
            try:
                self._documents[where] = (await self._http.get(where)).json()
            except (httpx.TransportError, ValueError):
                # It is being kept from answering, and that is what the test is about.
                return
        method, path = answer.request.method, answer.url.raw_path.decode().partition("?")[0]
        for template, item in self._documents[where]["paths"].items():
            pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template))
            operation = item.get(method.lower())
            if operation is not None and re.fullmatch(pattern, path):
                named = operation["responses"].get(str(answer.status_code))
                assert named is not None, f"{method} {path}: {answer.text}"
                _check_as_documented(self._documents[where], named, answer)
                return


def created(answer: httpx.Response) -> Document:
    """The document of a 201."""
    assert answer.status_code == 201, f"{answer.status_code}: {answer.text}"
    document: Document = answer.json()
    return document


def found(answer: httpx.Response) -> Document:
    """The document of a 200."""
    assert answer.status_code == 200, f"{answer.status_code}: {answer.text}"
    document: Document = answer.json()
    return document


def problem(answer: httpx.Response, slug: str) -> Document:
    """The document of a problem of this type, with the status and headers that go with it."""
    document: Document = answer.json()
    assert document.get("type") == f"/problems/{slug}", f"{answer.status_code}: {answer.text}"
    _check_problem(answer)
    return document


def pointers(answer: httpx.Response, slug: str = "validation-failed") -> list[str]:
    """Where a request broke rules, as its 422 answer lists it."""
    return [fault["pointer"] for fault in problem(answer, slug)["errors"]]


def check_problem_document(document: Document) -> None:
    """Hold a problem document to the types that are published; every 422 says what is wrong."""
    kind = document["type"]
    assert _SLUG.fullmatch(kind), document
    assert _STATUS_OF.get(kind) == document["status"], document
    assert document["title"], document
    assert document["detail"], document
    if document["status"] == 422:
        assert document["errors"], document
        for fault in document["errors"]:
            assert set(fault) == {"pointer", "detail"}, document
            assert _POINTER.fullmatch(fault["pointer"]), document
            assert fault["detail"], document
    for text in (document["detail"], *(fault["detail"] for fault in document.get("errors") or ())):
        assert not FRAMEWORK.search(text), document


def _check_as_documented(document: Document, named: Document, answer: httpx.Response) -> None:
    """Hold a problem to the types of its operation, and to a schema that names each member."""
    named = resolved(document, named)
    (content,) = named["content"].values()
    assert answer.json()["type"].rpartition("/")[2] in content["examples"], answer.text
    schema = resolved(document, content["schema"])
    validate(document, schema, answer.json())
    assert set(answer.json()) <= set(schema["properties"]), answer.text


def _check_problem(answer: httpx.Response) -> None:
    """Hold an error answer to RFC 9457 and to what is published."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    document: Document = answer.json()
    check_problem_document(document)
    assert document["status"] == answer.status_code, answer.text
    if answer.status_code in {429, 503}:
        assert int(answer.headers["retry-after"]) > 0, answer.text
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer"), answer.text
