"""Errors as HTTP answers (RFC 9457)."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from freehold.contracts.errors import DomainError, Internal, Unauthorized
from freehold.http.catalogue import CATALOGUE
from freehold.http.errors import NO_HEADERS, HttpError, RequestTimeout


class Problem(NamedTuple):
    """The answer to a request that was refused or failed."""

    status: int
    headers: Mapping[str, str]
    """Without the body's type and length."""
    body: bytes
    """The problem document, in JSON."""

    @classmethod
    def of(cls, error: DomainError) -> "Problem":
        """Make the answer of an error."""
        return cls(
            CATALOGUE[type(error)].status, _headers(error), orjson.dumps(problem_document(error))
        )


def problem_document(error: DomainError) -> dict[str, Any]:
    """Write an error as a problem document."""
    kind = CATALOGUE[type(error)]
    document: dict[str, Any] = {
        "type": kind.uri,
        "title": kind.title,
        "status": kind.status,
        "detail": error.detail,
    }
    if error.errors:
        document["errors"] = [each.model_dump() for each in error.errors]
    return document | error.facts


def unforeseen() -> Internal:
    """Make the error of an unexpected failure. Only the log has its details."""
    return Internal("the service failed; its log has the request id")


def late_body(timeout_s: float) -> RequestTimeout:
    """Make the error of a body that did not come within a time."""
    return RequestTimeout(
        f"the body did not come within {timeout_s:g} s; send it again on a new connection"
    )


def _headers(error: DomainError) -> Mapping[str, str]:
    if isinstance(error, HttpError):
        return error.headers
    if isinstance(error, Unauthorized):
        return {"WWW-Authenticate": 'Bearer realm="freehold"'}
    if error.retry_after_s is not None:
        # In whole seconds (RFC 9110, section 10.2.3).
        return {"Retry-After": str(math.ceil(error.retry_after_s))}
    return NO_HEADERS
