"""What ingest's routes read of a request beside its body."""

from typing import Any

from fastapi import Request
from pydantic import TypeAdapter, ValidationError

from freehold.contracts.errors import IdempotencyKeyInvalid
from freehold.contracts.excerpts import excerpt
from freehold.contracts.faults import Document
from freehold.http.bodies import field_errors, header_values, pointer
from freehold.http.parameters import given_parameters
from freehold_ingest.keys import usable_key

KEY_HEADER: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "schema": {"type": "string", "pattern": "^[\\x20-\\x7e]{1,255}$"},
    "description": "Send the same key again to repeat a request safely.",
}


def idempotency_key(request: Request) -> str:
    """Take a request's idempotency key.

    Raises:
        DomainError: idempotency-key-missing, idempotency-key-invalid.
    """
    keys = header_values(request, b"idempotency-key")
    if len(keys) > 1:
        raise IdempotencyKeyInvalid("send one Idempotency-Key header, not several")
    return usable_key(keys[0] if keys else None, "the header Idempotency-Key")


def refuse_parameters(request: Request) -> None:
    """Refuse query parameters: these routes take none.

    Raises:
        DomainError: validation-failed.
    """
    if request.scope["query_string"] and (given := given_parameters(request)):
        raise field_errors(
            (pointer([name]), f"there is no parameter {excerpt(name)}: this path takes none")
            for name in dict(given)
        )


def path_part(name: str, text: str, rule: TypeAdapter[str]) -> str:
    """Check a part of a path by the rule of its field.

    Raises:
        DomainError: validation-failed.
    """
    try:
        return rule.validate_python(text)
    except ValidationError as error:
        document = Document({"properties": {name: rule.json_schema()}}, {name: text})
        raise field_errors(
            (f"/{name}", document.in_words({**fault, "loc": (name,)})) for fault in error.errors()
        ) from None
