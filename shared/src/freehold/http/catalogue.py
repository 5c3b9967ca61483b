"""The catalogue of problem types: what each means, what to do, and whether to send it again.

The pages at /problems (problem_types.py), the guide and the OpenAPI documents are made of it.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from freehold.contracts.errors import (
    AlreadyRefunded,
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
    OperatorExists,
    OperatorRevoked,
    Overloaded,
    RefundNotAllowed,
    ReplyNotAllowed,
    RoleMissing,
    StatementTooLong,
    TenantDeleted,
    TenantExists,
    TenantSuspended,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    ValidationFailed,
)
from freehold.contracts.fields import EVENT_TYPE_PATTERN, LOOKS_LIKE
from freehold.contracts.problems import FieldError
from freehold.http.errors import (
    BodyTooLarge,
    CrossOriginRequest,
    HeadTooLarge,
    HttpVersionUnsupported,
    MalformedCoding,
    MalformedJson,
    MalformedRequest,
    MethodNotAllowed,
    NotAcceptable,
    RequestTimeout,
    Unimplemented,
    UnsupportedMediaType,
    UriTooLong,
)

_WRONG_TYPE = f"event_type must look like {LOOKS_LIKE[EVENT_TYPE_PATTERN]}, and was charge"
_EVENT_ID = "019ca9a8-5a00-7000-8000-0007c0a8d5e1"


class Retry(StrEnum):
    """Whether the same request may succeed when it is sent again."""

    NO = "no"
    """It is refused again until something else has changed."""
    NOW = "now"
    """It may be sent again at once."""
    LATER = "later"
    """It may be sent again after the seconds in `Retry-After`."""


_SENTENCES = {
    Retry.NO: "No. The same request is refused again.",
    Retry.NOW: "Yes, at once, with the same `Idempotency-Key`: nothing is done twice.",
    Retry.LATER: "Yes, after the seconds in `Retry-After`, with the same `Idempotency-Key`: nothing"
    " is done twice.",
}


class ProblemType(NamedTuple):
    """A kind of problem, in words for people."""

    slug: str
    status: int
    title: str
    cause: str
    remedy: str
    """What the caller can do."""
    retry: Retry
    again: str
    """Whether, when and how to send the same request again: `retry` as a sentence."""
    example: DomainError

    @property
    def uri(self) -> str:
        """The `type` member of the problem document."""
        return f"/problems/{self.slug}"


def _kind(
    status: int,
    title: str,
    *,
    cause: str,
    remedy: str,
    example: DomainError,
    retry: Retry = Retry.NO,
    again: str | None = None,
) -> ProblemType:
    again = again or _SENTENCES[retry]
    return ProblemType(example.slug, status, title, cause, remedy, retry, again, example)


_OF_REQUESTS = (
    _kind(
        400,
        "The request breaks the rules of HTTP",
        cause="The request's head or the framing of its body cannot be read, for instance because"
        " it has no `Host` field or two of them.",
        remedy="Send it by an HTTP library instead of by hand. If one sent it, look at the proxies"
        " on the way.",
        example=MalformedRequest("send one Host field; there were 2"),
    ),
    _kind(
        400,
        "The body is not JSON",
        cause="The body is empty, cut off, or breaks the rules of JSON (RFC 8259).",
        remedy="Write the body with a JSON library. `detail` names the line and the column.",
        example=MalformedJson("this is not JSON: trailing comma at line 1 column 21"),
    ),
    _kind(
        400,
        "The body is not what its Content-Encoding says",
        cause="The header `Content-Encoding` says gzip or zstd, and the body is not packed so or"
        " ends too early.",
        remedy="Pack the body as the header says, or leave the header out.",
        example=MalformedCoding("the body is not gzip"),
    ),
    _kind(
        400,
        "The request needs an Idempotency-Key",
        cause="A request that adds to a ledger came without the header `Idempotency-Key`; over"
        " AMQP, without the property `message_id`.",
        remedy="Send a key of your own for each thing that you do, such as the id of the payment"
        " provider's event. Send the same key whenever you repeat the request.",
        example=IdempotencyKeyMissing(
            "send the header Idempotency-Key: a new one for each new thing to do"
        ),
    ),
    _kind(
        400,
        "The Idempotency-Key cannot be used",
        cause="The key is longer than 255 characters, has others than printable ASCII characters,"
        " or was sent twice.",
        remedy="Send one key of 1 to 255 printable ASCII characters. A UUID will do.",
        example=IdempotencyKeyInvalid("send one Idempotency-Key header, not several"),
    ),
    _kind(
        405,
        "The method is not allowed here",
        cause="The path exists and does not know the method.",
        remedy="Use one of the methods in the header `Allow`.",
        example=MethodNotAllowed("/v1/events can be asked for: GET, HEAD, OPTIONS"),
    ),
    _kind(
        406,
        "The client takes nothing that is answered here",
        cause="The header `Accept` has none of the media types that the path answers.",
        remedy="Accept one of those that `detail` names.",
        example=NotAcceptable(
            "this is answered as application/json, text/csv, application/pdf: accept one of them"
        ),
    ),
    _kind(
        408,
        "The request did not come in time",
        cause="The body was not complete within the service's time (10 s unless set otherwise).",
        remedy="Send it again on a new connection. Split a large batch, or use an import, which may"
        " take any time.",
        retry=Retry.NOW,
        example=RequestTimeout(
            "the body did not come within 10 s; send it again on a new connection"
        ),
    ),
    _kind(
        413,
        "The body is too large",
        cause="The body has more bytes than the service takes, packed or unpacked.",
        remedy="Send fewer events at once, or stream them to `POST /v1/events/import`, which takes"
        " any length.",
        example=BodyTooLarge("a body may have at most 16777216 bytes, when unpacked too"),
    ),
    _kind(
        414,
        "The request's target is too long",
        cause="The path and the query string have more than 16 KiB together.",
        remedy="Ask for less at once.",
        example=UriTooLong("the target of a request may have at most 16384 bytes"),
    ),
    _kind(
        415,
        "The body is not of a type that is taken here",
        cause="The header `Content-Type` or `Content-Encoding` names something that the path does"
        " not take.",
        remedy="Send what the answer's header `Accept` or `Accept-Encoding` names. An import is"
        " `application/x-ndjson`; every other body is `application/json`.",
        example=UnsupportedMediaType("Content-Type must be application/json, and was text/plain"),
    ),
    _kind(
        431,
        "The request's header fields are too large",
        cause="The request has more than 200 header fields, or more than 64 KiB of them.",
        remedy="Send fewer or shorter fields. Cookies are not needed.",
        example=HeadTooLarge("a request may have at most 200 fields"),
    ),
    _kind(
        501,
        "The request needs what is not done here",
        cause="The request has an unknown method, or a `Transfer-Encoding` other than `chunked`.",
        remedy="Use the methods and headers in the service's page at `/docs`.",
        example=Unimplemented("the only Transfer-Encoding taken is chunked"),
    ),
    _kind(
        505,
        "This version of HTTP is not spoken here",
        cause="The request is in another version than HTTP/1.0 and HTTP/1.1.",
        remedy="Send it in HTTP/1.1. A proxy in front may speak HTTP/2 or HTTP/3 to clients.",
        example=HttpVersionUnsupported("send the request in HTTP/1.1"),
    ),
)

_OF_CALLERS = (
    _kind(
        401,
        "The request carries no valid credential",
        cause="There is no API key, read token or operator token in the header `Authorization`, or"
        " it is wrong, revoked or expired.",
        remedy="Send `Authorization: Bearer` and the credential. If the key has ended, ask the"
        " operator for another one.",
        example=Unauthorized("the API key is not valid"),
    ),
    _kind(
        403,
        "The key does not have the scope",
        cause="The API key is valid and was made without the scope that this request needs."
        " `detail` names the scope.",
        remedy="Use a key with that scope, or ask the operator to make one.",
        example=MissingScope("the key needs the scope read"),
    ),
    _kind(
        403,
        "Another page asks",
        cause="A page of another origin asks for an act of a console, or a program does so without"
        " the header `Origin` or `Sec-Fetch-Site`.",
        remedy="Act in the console itself. Programs use the routes under `/v1` with a credential.",
        example=CrossOriginRequest("this can only be asked for by a page of this console"),
    ),
    _kind(
        403,
        "The operator's role does not suffice",
        cause="The operator's token is valid, and its role may not do this. `detail` names the role"
        " that is needed. The attempt is in the audit log.",
        remedy="Ask an operator with that role to do it, or an owner to make you one.",
        example=RoleMissing("this takes the role owner, and jane.doe is a viewer"),
    ),
    _kind(
        403,
        "The answer may not go there",
        cause="A message over AMQP asks for its answer in a queue that is not its publisher's own.",
        remedy="Set `reply_to` to `amq.rabbitmq.reply-to`, or to a queue that the broker named for"
        " you.",
        example=ReplyNotAllowed(
            "reply_to may be amq.rabbitmq.reply-to, or a queue that the broker named (amq.gen-…)"
        ),
    ),
    _kind(
        403,
        "The tenant is suspended",
        cause="The operator suspended the tenant, or is deleting it.",
        remedy="Ask the operator. Until the tenant is resumed, no key of theirs does anything.",
        again="Not before the operator has resumed the tenant. Then it may be sent again with the"
        " same `Idempotency-Key`.",
        example=TenantSuspended("the tenant is suspended by the operator"),
    ),
    _kind(
        404,
        "There is no such thing",
        cause="The path does not exist, or the id in it belongs to nothing of this tenant. Ids of"
        " other tenants are answered in the same way.",
        remedy="Check the path and the id. A balance that is not found may not be projected yet:"
        " ask with `consistency=strong`.",
        example=NotFound("there is no such event"),
    ),
    _kind(
        429,
        "The tenant sends more than its share",
        cause="The tenant went over a limit of its own: events a second, requests at once, live"
        " streams, or an export that is already running. Nothing of this request was done.",
        remedy="Wait, then send it again. Send events in batches. Ask the operator for a higher"
        " limit if this is usual.",
        retry=Retry.LATER,
        example=TooManyRequests("the tenant sends more than 1000 events a second"),
    ),
)

_OF_LEDGERS = (
    _kind(
        409,
        "An event with this external_id exists",
        cause="An earlier event of the tenant has the same `external_id`, which is unique for good."
        " `existing_event_id` names it, and `differs` the members in which this request says"
        " something else.",
        remedy="If `differs` is empty, the ledger has what you wanted: go on as after a success."
        " Otherwise find out which of the two is right. A mistake is undone by a reversal, and sent"
        " again with another `external_id`.",
        example=DuplicateExternalId(
            f"the external_id ch_1 belongs to event {_EVENT_ID}, which says the same",
            existing_event_id=_EVENT_ID,
            external_id="ch_1",
            differs=[],
            errors=[
                FieldError(
                    pointer="/external_id",
                    detail=f"the external_id ch_1 belongs to event {_EVENT_ID}, which says the"
                    " same",
                )
            ],
        ),
    ),
    _kind(
        409,
        "The event has been reversed",
        cause="The event or transaction was reversed before, and nothing is reversed twice.",
        remedy="Nothing is left to do. The answer names the reversal that there is.",
        example=AlreadyReversed(
            f"the event was reversed by event {_EVENT_ID}", existing_event_id=_EVENT_ID
        ),
    ),
    _kind(
        409,
        "Refunds stand against the reversal",
        cause="The event, or a leg of the transaction, was refunded, in part or whole. A reversal"
        " would give that back a second time.",
        remedy="Refund what is left: `GET /v1/events/{event_id}` says how much was refunded. If the"
        " refunds are mistaken, reverse them first.",
        example=AlreadyRefunded(
            f"less is left of event {_EVENT_ID} than the reversal takes (1500, after refunds):"
            " refund what is left, or reverse the refunds first",
            refunded_event_id=_EVENT_ID,
        ),
    ),
    _kind(
        409,
        "The hold is not pending any more",
        cause="The hold was captured, released, or has expired. A hold is settled once.",
        remedy="Read it at `GET /v1/holds/{hold_id}`. To set the amount aside again, place another"
        " hold.",
        example=HoldNotPending(
            "the hold is captured", hold_status="captured", existing_event_id=_EVENT_ID
        ),
    ),
    _kind(
        422,
        "The request breaks a rule",
        cause="A member of the body, a parameter or a part of the path is missing, unknown, of"
        " another type, or outside its limits. `errors` names each place and its rule.",
        remedy="Correct what `errors` names. Nothing was done and the `Idempotency-Key` is still"
        " free: the corrected request may use the same one.",
        example=ValidationFailed(
            f"{_WRONG_TYPE} (and 1 more)",
            errors=[
                FieldError(pointer="/event_type", detail=_WRONG_TYPE),
                FieldError(pointer="/currency", detail="currency is missing"),
            ],
        ),
    ),
    _kind(
        422,
        "The key was used for another request",
        cause="An earlier request with this `Idempotency-Key` had another body or another path.",
        remedy="Use a new key for each new thing. If the earlier request was meant, send it exactly"
        " as it was.",
        example=IdempotencyKeyReused("this Idempotency-Key was used for another request"),
    ),
    _kind(
        422,
        "The event cannot be reversed",
        cause="The event is a leg of a transaction, which is reversed as a whole; or it posts"
        " nothing, as events of holds do; or its opposite does not fit in 64 bits.",
        remedy="Reverse the transaction that the answer names, or release the hold.",
        example=NotReversible(
            f"the event is a leg of transaction {_EVENT_ID}, which is reversed as a whole",
            transaction_id=_EVENT_ID,
        ),
    ),
    _kind(
        422,
        "The event cannot be refunded in this way",
        cause="The event in `refunds_event_id` does not exist, is a refund or a reversal, or posts"
        " no amount; or the refund has another account or currency, the same sign, or a larger"
        " amount than is left after earlier refunds or a reversal. `errors` names the member at"
        " fault.",
        remedy="Correct what `errors` names. `GET /v1/events/{event_id}` of the event to refund"
        " says how much of it was refunded. What a refund names is in the ledger already, so it is"
        " no other event of the same request.",
        example=RefundNotAllowed(
            "amount_minor must not give back more than is left of event"
            f" {_EVENT_ID}, which is 1500",
            errors=[
                FieldError(
                    pointer="/amount_minor",
                    detail="amount_minor must not give back more than is left of event"
                    f" {_EVENT_ID}, which is 1500",
                )
            ],
        ),
    ),
    _kind(
        422,
        "An account would be taken below its limit",
        cause="The account has a limit, and its balance less what is held would fall below it."
        " Nothing of the request was done, nor of the other events in it.",
        remedy="Add to the account first, take less, or change the limit at `PUT"
        " /v1/accounts/{account_id}/limits`.",
        again="Not before the account has enough. Then it may be sent again with the same"
        " `Idempotency-Key`: a refusal is not remembered.",
        example=InsufficientFunds(
            "cus_42 in USD would be taken below its limit",
            errors=[
                FieldError(
                    pointer="/amount_minor", detail="cus_42 in USD would be taken below its limit"
                )
            ],
        ),
    ),
    _kind(
        422,
        "The statement has too many lines for this form",
        cause="A PDF can show a limited number of lines, and the period has more.",
        remedy="Ask for a shorter period, or for `Accept: text/csv`.",
        example=StatementTooLong(
            "a PDF has at most 5000 lines: ask for a shorter period, or for CSV"
        ),
    ),
)

_OF_TENANTS = (
    _kind(
        409,
        "The tenant exists with other settings",
        cause="A tenant has this `tenant_id` and another name, region or isolation; or had it, and"
        " is deleted.",
        remedy="Choose another `tenant_id`, or send the settings that the tenant has.",
        example=TenantExists("the tenant acme has other settings"),
    ),
    _kind(
        409,
        "The tenant is deleted, or about to be",
        cause="The operator asked for a change of a tenant who is deleted or being deleted.",
        remedy="Nothing can be done for this tenant any more. Its final export and last backup"
        " remain.",
        example=TenantDeleted("the tenant acme is deleted, or about to be"),
    ),
    _kind(
        409,
        "The API key is revoked or has expired",
        cause="The operator asked to rotate a key that does not work any more.",
        remedy="Make a new key.",
        example=ApiKeyEnded("the key works no more; make a new one"),
    ),
    _kind(
        409,
        "The name is another operator's",
        cause="There is an operator of this name, or there was one, who is revoked. `root` is the"
        " token of the settings.",
        remedy="Choose another name: the audit log names each operator once.",
        example=OperatorExists(
            "there is, or was, an operator jane.doe; the audit log names each once"
        ),
    ),
    _kind(
        409,
        "The operator is revoked",
        cause="An owner asked for a new token of an operator who is revoked.",
        remedy="Make an operator of another name.",
        example=OperatorRevoked("jane.doe is revoked for good; make an operator of another name"),
    ),
)

_OF_SERVICES = (
    _kind(
        500,
        "Something failed that should not",
        cause="The service has a fault of its own. It is unknown whether the request was done.",
        remedy="Send it again once, with the same `Idempotency-Key`. If it fails again, give the"
        " operator the header `X-Request-Id`: the log has the details under it.",
        retry=Retry.NOW,
        example=Internal("the service failed; its log has the request id"),
    ),
    _kind(
        503,
        "There is more work than can be done in time",
        cause="The service or a database had too much to do. If a deadline passed, it is unknown"
        " whether the request was done.",
        remedy="Wait, then send it again, and wait longer each time.",
        retry=Retry.LATER,
        example=Overloaded("no answer within 10 s; try again"),
    ),
    _kind(
        503,
        "Something this request needs is not available",
        cause="A database, the broker or the storage does not answer. `detail` says which. It may"
        " recover by itself.",
        remedy="Wait, then send it again, and wait longer each time.",
        retry=Retry.LATER,
        example=Unavailable("the tenant's database does not answer"),
    ),
    _kind(
        503,
        "The tenant's ledger has a version not served here",
        cause="The tenant's ledger waits for a migration, or was migrated for a later release of"
        " this service.",
        remedy="Wait, then send it again. An operator looks at `GET /v1/migrations`.",
        retry=Retry.LATER,
        example=LedgerVersionUnsupported(
            "the tenant's ledger has version 1 and this service needs 2 or later: it waits for the"
            " tenant to be migrated"
        ),
    ),
    _kind(
        503,
        "Two servers' clocks differ by more than is believed",
        cause="The clocks of the service and of a Postgres server differ by more than the limit (60"
        " s unless set otherwise). Nothing was written.",
        remedy="Wait, then send it again. An operator corrects the clock that is wrong.",
        retry=Retry.LATER,
        example=ClocksDisagree(
            "the database's clock is 120.0 s ahead of the service's; nothing was written, and"
            " nothing is until they agree"
        ),
    ),
)

PROBLEM_TYPES: tuple[ProblemType, ...] = tuple(
    sorted(
        (*_OF_REQUESTS, *_OF_CALLERS, *_OF_LEDGERS, *_OF_TENANTS, *_OF_SERVICES),
        key=lambda kind: (kind.status, kind.slug),
    )
)
CATALOGUE: Mapping[type[DomainError], ProblemType] = {
    type(kind.example): kind for kind in PROBLEM_TYPES
}
BY_SLUG: Mapping[str, ProblemType] = {kind.slug: kind for kind in PROBLEM_TYPES}
