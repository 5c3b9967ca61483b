"""What a call may raise. Each problem type is a class of its own.

No error has a credential in its text or its attributes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import httpx
import msgspec

from freehold_client.pauses import retry_after_s


class FreeholdError(Exception):
    """Every error of this package is one."""


class SettingsError(FreeholdError, ValueError):
    """An address or a credential is missing, or cannot be one."""


class NoAnswerError(FreeholdError):
    """The service was not reached, or its answer broke off, on every try.

    It may have done what it was asked for. With the same idempotency key it does so once only.
    """


class UnexpectedAnswerError(FreeholdError):
    """Something answered, and not as Freehold does: a proxy, or a much newer release."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """A rule that the request breaks: where (a JSON pointer, RFC 6901), and what is wrong."""

    pointer: str
    detail: str


_CLASSES: "dict[str, type[Problem]]" = {}
"""The class of each problem type."""


class Problem(FreeholdError):
    """Freehold refused the request, or failed, and answered a problem document (RFC 9457).

    Catch the class of one type, such as InsufficientFunds, or this one for all.

    Args:
        document: The problem document.
        retry_after_s: The answer's Retry-After, in seconds.
        request_id: The answer's X-Request-Id, by which the operator finds it in the logs.
    """

    slug: ClassVar[str] = ""

    def __init__(
        self,
        document: Mapping[str, Any],
        *,
        retry_after_s: float | None = None,
        request_id: str | None = None,
    ) -> None:
        self.type = str(document["type"])
        """`/problems/<slug>`: never renamed, and at the service the address of its description."""
        self.title = str(document["title"])
        self.status = int(document["status"])
        self.detail = str(document["detail"])
        self.errors: Sequence[FieldError] = [
            FieldError(each["pointer"], each["detail"]) for each in document.get("errors") or ()
        ]
        self.document = document
        """All members, also those of this type alone, such as `existing_event_id`."""
        self.retry_after_s = retry_after_s
        self.request_id = request_id
        super().__init__(self.detail)

    def __init_subclass__(cls) -> None:
        _CLASSES[f"/problems/{cls.slug}"] = cls

    def __reduce__(self) -> tuple[Any, ...]:
        # Queues of jobs and tests in several processes hand errors on.
        make = partial(type(self), retry_after_s=self.retry_after_s, request_id=self.request_id)
        return make, (self.document,)

    def __str__(self) -> str:
        # The detail names the first broken rule; where there are more, each is named.
        more = [f"{error.pointer}: {error.detail}" for error in self.errors[1:]]
        return "\n".join([f"{self.status} {self.type}: {self.detail}", *more])


def error_of(answer: httpx.Response) -> Problem | UnexpectedAnswerError | None:
    """Give the error of an answer whose status is not a success."""
    if answer.is_success:
        return None
    try:
        return problem_of(msgspec.json.decode(answer.content), answer.headers)
    except (KeyError, TypeError, ValueError):
        where = answer.url.copy_with(query=None)
        return UnexpectedAnswerError(
            f"{where} answered {answer.status_code}, and not as Freehold does"
        )


def problem_of(document: Any, headers: Mapping[str, str]) -> Problem:
    """Make the problem of a problem document, of its type's class.

    Raises:
        KeyError: It is no problem document.
        TypeError: As above.
        ValueError: As above.
    """
    kind = _CLASSES.get(document["type"], Problem)
    return kind(
        document, retry_after_s=retry_after_s(headers), request_id=headers.get("x-request-id")
    )
