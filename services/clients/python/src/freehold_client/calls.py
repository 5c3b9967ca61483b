"""One call as data: what is sent where, and what answers it. Nothing here sends anything."""

from collections.abc import AsyncIterable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Generic, TypeVar
from uuid import uuid4

import httpx
import msgspec

from freehold_client.errors import UnexpectedAnswerError
from freehold_client.routes import Route

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Time = datetime | str
"""A time: aware, or as RFC 3339 writes it, with an offset."""

Content = bytes | Iterable[bytes] | AsyncIterable[bytes]
"""A body: whole, or in pieces, which are read once."""

_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """One logical call: sent again, it is the same one, with the same idempotency key."""

    route: Route
    path: str
    answers: type[T_co] | None
    """The answer's model; None where it has none."""
    params: Mapping[str, str]
    content: bytes | None
    headers: Mapping[str, str]
    is_repeatable: bool
    """Whether it may be sent again when nobody knows what became of it."""

    def with_params(self, **params: object) -> "Call[T_co]":
        """Give the same call with more parameters."""
        return replace(self, params={**self.params, **texts(params)})

    def read(self, answer: httpx.Response) -> T_co:
        """Read the answer.

        Raises:
            UnexpectedAnswerError: It is not what is documented.
        """
        if self.answers is None:
            return None  # type: ignore[return-value] # T_co is None then.
        return decode(answer.content, self.answers)


def new_call(
    route: Route,
    answers: type[T] | None,
    ids: tuple[object, ...] = (),
    *,
    params: Mapping[str, object] | None = None,
    body: object = None,
    headers: Mapping[str, str | None] | None = None,
    idempotency_key: str | None = None,
) -> Call[T]:
    """Describe a call.

    Args:
        route: Where it goes.
        answers: The answer's model.
        ids: The path's parameters, in their order.
        params: The query's parameters; those that are None are left out.
        body: What is sent as JSON; None for no body.
        headers: More headers; those that are None are left out.
        idempotency_key: The caller's own. Without it, one is made where the route takes one.
    """
    sent = {name: value for name, value in (headers or {}).items() if value is not None}
    if route.has_key:
        sent["Idempotency-Key"] = idempotency_key or str(uuid4())
    content = None
    if body is not None:
        sent["Content-Type"] = "application/json"
        content = msgspec.json.encode(body)
    return Call(
        route,
        route.path(*ids),
        answers,
        params=texts(params or {}),
        content=content,
        headers=sent,
        is_repeatable=is_repeatable(route.method, sent),
    )


def is_repeatable(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a request may be sent again: by its method (RFC 9110, 9.2.2), or by its key."""
    return method in _REPEATABLE or any(name.lower() == "idempotency-key" for name in headers)


def given(members: Mapping[str, object]) -> dict[str, object]:
    """Give the members that are not None."""
    return {name: value for name, value in members.items() if value is not None}


def texts(params: Mapping[str, object]) -> dict[str, str]:
    """Write parameters for a query string; those that are None are left out."""
    return {name: _text(value) for name, value in given(params).items()}


def decode(content: bytes, model: type[T]) -> T:
    """Read a JSON document. Amounts that are strings become integers; unknown members are skipped.

    Raises:
        UnexpectedAnswerError: It is not what is documented.
    """
    try:
        return msgspec.json.decode(content, type=model, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        name = getattr(model, "__name__", str(model))
        raise UnexpectedAnswerError(f"the answer is no {name}: {error}") from error


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
