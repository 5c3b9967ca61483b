"""The errors of the domain: every reason for which a request is refused or fails.

Raise the class that names the reason. Catch it, or a base that says what to do about it. Only the
edges turn an error into an answer: `freehold.http.problems` for HTTP, and ingest's `envelopes` for
AMQP. Clients branch on slugs, so a slug is never renamed.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from freehold.contracts.problems import FieldError


class DomainError(Exception):
    """A request was refused, or failed.

    Args:
        detail: One sentence for the caller.
        retry_after_s: Seconds until trying again may help; None if it does not.
        errors: The rules that the request breaks, and where.
        facts: More members of the answer, by name.
    """

    slug: ClassVar[str]
    retry_after_s: float | None = None

    def __init__(
        self,
        detail: str,
        *,
        retry_after_s: float | None = None,
        errors: Sequence[FieldError] | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = list(errors or ())
        self.facts = facts
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s


class Internal(DomainError):
    """A fault of the service itself."""

    slug = "internal"


class NotFound(DomainError):
    """There is no such thing, or it is another tenant's."""

    slug = "not-found"


# The caller.


class Unauthorized(DomainError):
    """The request has no valid credential."""

    slug = "unauthorized"


class Forbidden(DomainError):
    """The caller is known and may not do this."""


class MissingScope(Forbidden):
    """The API key lacks the scope."""

    slug = "missing-scope"


class RoleMissing(Forbidden):
    """The operator's role does not suffice."""

    slug = "role-missing"


class ReplyNotAllowed(Forbidden):
    """A message asks for its reply in a queue that is not its publisher's."""

    slug = "reply-not-allowed"


class TenantSuspended(Forbidden):
    """The operator suspended the tenant, or deletes it."""

    slug = "tenant-suspended"


# Requests that break a rule.


class IdempotencyKeyMissing(DomainError):
    """The request needs an idempotency key."""

    slug = "idempotency-key-missing"


class IdempotencyKeyInvalid(DomainError):
    """The idempotency key breaks its rules."""

    slug = "idempotency-key-invalid"


class Invalid(DomainError):
    """The request breaks a rule: `errors` has at least one, by default of the whole request."""

    def __init__(
        self, detail: str, *, errors: Sequence[FieldError] | None = None, **facts: Any
    ) -> None:
        super().__init__(detail, errors=errors or [FieldError(pointer="", detail=detail)], **facts)


class ValidationFailed(Invalid):
    """A field or a parameter breaks a rule."""

    slug = "validation-failed"


class IdempotencyKeyReused(Invalid):
    """The idempotency key belongs to another request."""

    slug = "idempotency-key-reused"


class NotReversible(Invalid):
    """The event cannot be reversed."""

    slug = "not-reversible"


class RefundNotAllowed(Invalid):
    """The event cannot be refunded, or not by this refund."""

    slug = "refund-not-allowed"


class InsufficientFunds(Invalid):
    """An account would fall below its limit."""

    slug = "insufficient-funds"


class StatementTooLong(Invalid):
    """A statement has more lines than the form that is asked for can have."""

    slug = "statement-too-long"


# Requests that conflict with the state.


class Conflict(DomainError):
    """The request conflicts with the state of the ledger or of a tenant."""


class DuplicateExternalId(Conflict):
    """An event with this external_id exists."""

    slug = "duplicate-external-id"


class AlreadyReversed(Conflict):
    """The event or transaction is reversed already."""

    slug = "already-reversed"


class AlreadyRefunded(Conflict):
    """Refunds of the event stand against its reversal."""

    slug = "already-refunded"


class HoldNotPending(Conflict):
    """The hold was settled, released, or expired."""

    slug = "hold-not-pending"


class TenantExists(Conflict):
    """The tenant exists with other settings."""

    slug = "tenant-exists"


class TenantDeleted(Conflict):
    """The tenant is deleted, or being deleted."""

    slug = "tenant-deleted"


class ApiKeyEnded(Conflict):
    """The API key is revoked or has expired."""

    slug = "api-key-ended"


class OperatorExists(Conflict):
    """An operator has, or had, this name."""

    slug = "operator-exists"


class OperatorRevoked(Conflict):
    """The operator is revoked."""

    slug = "operator-revoked"


# Requests that may succeed later.


class NotNow(DomainError):
    """The same request may succeed in `retry_after_s` seconds."""

    retry_after_s: float = 1


class TooManyRequests(NotNow):
    """The tenant sends more than its limits allow."""

    slug = "too-many-requests"


class LedgerVersionUnsupported(NotNow):
    """The tenant's ledger waits for a migration, or for this service's next release."""

    slug = "ledger-version-unsupported"
    retry_after_s = 10


class Outage(NotNow):
    """A server or a clock fails. It may recover by itself."""


class Overloaded(Outage):
    """There is more work than can be done in time."""

    slug = "overloaded"


class Unavailable(Outage):
    """Something that the request needs does not answer."""

    slug = "unavailable"
    retry_after_s = 2


class ClocksDisagree(Outage):
    """The clocks of two servers differ by more than the limit."""

    slug = "clocks-disagree"
    retry_after_s = 10
