"""Every error that an answer can carry: RFC 9457 problem types, with their status and title.

A type is a promise: clients may branch on it, so slugs are never renamed.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, Field

PROBLEM_MEDIA_TYPE = "application/problem+json"


class ProblemType(NamedTuple):
    """A kind of problem."""

    slug: str
    status: int
    title: str

    @property
    def uri(self) -> str:
        """The `type` member of the problem document."""
        return f"/problems/{self.slug}"


MALFORMED_JSON = ProblemType("malformed-json", 400, "The body is not JSON")
IDEMPOTENCY_KEY_MISSING = ProblemType(
    "idempotency-key-missing", 400, "The request needs an Idempotency-Key"
)
IDEMPOTENCY_KEY_INVALID = ProblemType(
    "idempotency-key-invalid", 400, "The Idempotency-Key cannot be used"
)
UNAUTHORIZED = ProblemType("unauthorized", 401, "The request carries no valid credential")
MISSING_SCOPE = ProblemType("missing-scope", 403, "The key does not have the scope")
TENANT_SUSPENDED = ProblemType("tenant-suspended", 403, "The tenant is suspended")
NOT_FOUND = ProblemType("not-found", 404, "There is no such thing")
METHOD_NOT_ALLOWED = ProblemType("method-not-allowed", 405, "The method is not allowed here")
REQUEST_TIMEOUT = ProblemType("request-timeout", 408, "The request did not come in time")
DUPLICATE_EXTERNAL_ID = ProblemType(
    "duplicate-external-id", 409, "An event with this external_id exists"
)
ALREADY_REVERSED = ProblemType("already-reversed", 409, "The event has been reversed")
HOLD_NOT_PENDING = ProblemType("hold-not-pending", 409, "The hold is not pending any more")
TENANT_EXISTS = ProblemType("tenant-exists", 409, "The tenant exists with other settings")
TENANT_DELETED = ProblemType("tenant-deleted", 409, "The tenant is deleted, or about to be")
API_KEY_ENDED = ProblemType("api-key-ended", 409, "The API key is revoked or has expired")
BODY_TOO_LARGE = ProblemType("body-too-large", 413, "The body is too large")
UNSUPPORTED_MEDIA_TYPE = ProblemType(
    "unsupported-media-type", 415, "The body is not of a type that is taken here"
)
VALIDATION_FAILED = ProblemType("validation-failed", 422, "The request breaks a rule")
IDEMPOTENCY_KEY_REUSED = ProblemType(
    "idempotency-key-reused", 422, "The key was used for another request"
)
NOT_REVERSIBLE = ProblemType("not-reversible", 422, "The event cannot be reversed")
INSUFFICIENT_FUNDS = ProblemType(
    "insufficient-funds", 422, "An account would be taken below its limit"
)
TOO_MANY_REQUESTS = ProblemType("too-many-requests", 429, "The tenant sends more than its share")
INTERNAL = ProblemType("internal", 500, "Something failed that should not")
OVERLOADED = ProblemType("overloaded", 503, "There is more work than can be done in time")
LEDGER_VERSION_UNSUPPORTED = ProblemType(
    "ledger-version-unsupported", 503, "The tenant's ledger has a version not served here"
)
UNAVAILABLE = ProblemType("unavailable", 503, "Something this request needs is not available")

PROBLEM_TYPES: tuple[ProblemType, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, ProblemType)
)


class FieldError(BaseModel):
    """One broken rule: where in the body (RFC 6901 pointer) or query, and what is wrong.

    An empty pointer is the whole request, where no single member of it is at fault.
    """

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [{"pointer": "/amount_minor", "detail": "an amount must not be zero"}]
        },
    )

    pointer: str
    detail: str


class ProblemDocument(BaseModel):
    """The body of an error answer. Some types add members of their own."""

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "/problems/validation-failed",
                    "title": "The request breaks a rule",
                    "status": 422,
                    "detail": "amount_minor: an amount must not be zero",
                    "errors": [
                        {"pointer": "/amount_minor", "detail": "an amount must not be zero"}
                    ],
                }
            ]
        },
    )

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = Field(
        default=None, description="What is wrong where: of every 422, and at least one."
    )


class Problem(Exception):  # noqa: N818 (RFC 9457's own word)
    """Raised anywhere below a route to answer with a problem document.

    Every 422 has `errors`; one that is given none is the whole request's.
    """

    def __init__(
        self,
        kind: ProblemType,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = members
        if kind.status == 422 and not members.get("errors"):
            members["errors"] = [{"pointer": "", "detail": detail}]

    def body(self) -> bytes:
        """Write the problem document."""
        return orjson.dumps(
            {
                "type": self.kind.uri,
                "title": self.kind.title,
                "status": self.kind.status,
                "detail": self.detail,
                **self.members,
            }
        )


def internal() -> Problem:
    """Make the problem of a failure that nobody foresaw; only the log says more."""
    return Problem(INTERNAL, "the service failed; its log has the request id")


def overloaded(detail: str, retry_after_s: int = 1) -> Problem:
    """Make the problem of too much work: the client should come again."""
    return Problem(OVERLOADED, detail, headers={"Retry-After": str(retry_after_s)})


def too_many_requests(detail: str, retry_after_s: int = 1) -> Problem:
    """Make the problem of a tenant who asks for more than their share (RFC 6585, section 4)."""
    return Problem(TOO_MANY_REQUESTS, detail, headers={"Retry-After": str(retry_after_s)})


def unavailable(detail: str, retry_after_s: int = 2, **members: Any) -> Problem:
    """Make the problem of a lost dependency: the client should come again."""
    return Problem(UNAVAILABLE, detail, headers={"Retry-After": str(retry_after_s)}, **members)
