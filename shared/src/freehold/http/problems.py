"""Errors as HTTP answers (RFC 9457): the catalogue of problem types, and HTTP's own errors."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from freehold.contracts.errors import (
    AlreadyReversed,
    ApiKeyEnded,
    ClocksDisagree,
    DomainError,
    DuplicateExternalId,
    HoldNotPending,
    IdempotencyKeyInvalid,
    IdempotencyKeyMissing,
    IdempotencyKeyReused,
    InsufficientFunds,
    Internal,
    LedgerVersionUnsupported,
    MissingScope,
    NotFound,
    NotReversible,
    Overloaded,
    ReplyNotAllowed,
    StatementTooLong,
    TenantDeleted,
    TenantExists,
    TenantSuspended,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    ValidationFailed,
)

_NONE: Mapping[str, str] = MappingProxyType({})


class HttpError(DomainError):
    """A request breaks a rule of HTTP, or of how bodies are written.

    Args:
        detail: One sentence for the caller.
        headers: Header fields that the answer must have.
    """

    headers: Mapping[str, str] = _NONE

    def __init__(self, detail: str, *, headers: Mapping[str, str] = _NONE) -> None:
        super().__init__(detail)
        if headers:
            self.headers = headers


class MalformedRequest(HttpError):
    """The request breaks the rules of HTTP."""

    slug = "malformed-request"


class MalformedJson(HttpError):
    """The body is not JSON."""

    slug = "malformed-json"


class MalformedCoding(HttpError):
    """The body is not what its Content-Encoding says."""

    slug = "malformed-coding"


class MethodNotAllowed(HttpError):
    """The path exists and does not know the method."""

    slug = "method-not-allowed"


class NotAcceptable(HttpError):
    """The client takes none of the media types that the path answers (RFC 9110, section 15.5.7)."""

    slug = "not-acceptable"


class RequestTimeout(HttpError):
    """The body did not come in time: the connection ends (RFC 9110, section 15.5.9)."""

    slug = "request-timeout"
    headers = MappingProxyType({"Connection": "close"})


class BodyTooLarge(HttpError):
    """The body is too large, packed or unpacked."""

    slug = "body-too-large"


class UriTooLong(HttpError):
    """The request's target is too long."""

    slug = "uri-too-long"


class UnsupportedMediaType(HttpError):
    """The body's media type or coding is not one that the path takes."""

    slug = "unsupported-media-type"


class HeadTooLarge(HttpError):
    """The request's header fields are too large."""

    slug = "head-too-large"


class Unimplemented(HttpError):
    """The request needs a feature of HTTP that is not supported."""

    slug = "not-implemented"


class HttpVersionUnsupported(HttpError):
    """The request is not in HTTP/1.0 or HTTP/1.1."""

    slug = "http-version-unsupported"


class ProblemType(NamedTuple):
    """A kind of problem."""

    slug: str
    status: int
    title: str

    @property
    def uri(self) -> str:
        """The `type` member of the problem document."""
        return f"/problems/{self.slug}"


CATALOGUE: Mapping[type[DomainError], ProblemType] = {
    error: ProblemType(error.slug, status, title)
    for error, status, title in (
        (MalformedRequest, 400, "The request breaks the rules of HTTP"),
        (MalformedJson, 400, "The body is not JSON"),
        (MalformedCoding, 400, "The body is not what its Content-Encoding says"),
        (IdempotencyKeyMissing, 400, "The request needs an Idempotency-Key"),
        (IdempotencyKeyInvalid, 400, "The Idempotency-Key cannot be used"),
        (Unauthorized, 401, "The request carries no valid credential"),
        (MissingScope, 403, "The key does not have the scope"),
        (ReplyNotAllowed, 403, "The answer may not go there"),
        (TenantSuspended, 403, "The tenant is suspended"),
        (NotFound, 404, "There is no such thing"),
        (MethodNotAllowed, 405, "The method is not allowed here"),
        (NotAcceptable, 406, "The client takes nothing that is answered here"),
        (RequestTimeout, 408, "The request did not come in time"),
        (DuplicateExternalId, 409, "An event with this external_id exists"),
        (AlreadyReversed, 409, "The event has been reversed"),
        (HoldNotPending, 409, "The hold is not pending any more"),
        (TenantExists, 409, "The tenant exists with other settings"),
        (TenantDeleted, 409, "The tenant is deleted, or about to be"),
        (ApiKeyEnded, 409, "The API key is revoked or has expired"),
        (BodyTooLarge, 413, "The body is too large"),
        (UriTooLong, 414, "The request's target is too long"),
        (UnsupportedMediaType, 415, "The body is not of a type that is taken here"),
        (ValidationFailed, 422, "The request breaks a rule"),
        (IdempotencyKeyReused, 422, "The key was used for another request"),
        (NotReversible, 422, "The event cannot be reversed"),
        (StatementTooLong, 422, "The statement has too many lines for this form"),
        (InsufficientFunds, 422, "An account would be taken below its limit"),
        (TooManyRequests, 429, "The tenant sends more than its share"),
        (HeadTooLarge, 431, "The request's header fields are too large"),
        (ClocksDisagree, 503, "Two servers' clocks differ by more than is believed"),
        (Internal, 500, "Something failed that should not"),
        (Unimplemented, 501, "The request needs what is not done here"),
        (Overloaded, 503, "There is more work than can be done in time"),
        (LedgerVersionUnsupported, 503, "The tenant's ledger has a version not served here"),
        (Unavailable, 503, "Something this request needs is not available"),
        (HttpVersionUnsupported, 505, "This version of HTTP is not spoken here"),
    )
}
PROBLEM_TYPES: tuple[ProblemType, ...] = tuple(CATALOGUE.values())


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
        kind = CATALOGUE[type(error)]
        document: dict[str, Any] = {
            "type": kind.uri,
            "title": kind.title,
            "status": kind.status,
            "detail": error.detail,
        }
        if error.errors:
            document["errors"] = [each.model_dump() for each in error.errors]
        return cls(kind.status, _headers(error), orjson.dumps(document | error.facts))


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
    return _NONE
