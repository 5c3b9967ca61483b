"""What ingest's routes take from a request beside its body, and how they answer."""

from typing import Any

from fastapi import Request, Response
from pydantic import TypeAdapter, ValidationError

from freehold.contracts.problems import IDEMPOTENCY_KEY_INVALID, Problem
from freehold.service.application import json_response
from freehold.service.bodies import field_errors, header_values, pointer
from freehold.service.parameters import given_parameters
from freehold_ingest.answers import Reply
from freehold_ingest.keys import usable_key

KEY_HEADER: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "Send the same key again to repeat a request safely.",
}


def idempotency_key(request: Request) -> str:
    """Take a request's idempotency key.

    Raises:
        Problem: idempotency-key-missing, idempotency-key-invalid.
    """
    keys = header_values(request, b"idempotency-key")
    if len(keys) > 1:
        raise Problem(IDEMPOTENCY_KEY_INVALID, "send one Idempotency-Key header, not several")
    return usable_key(keys[0] if keys else None, "an Idempotency-Key header")


def refuse_parameters(request: Request) -> None:
    """Let no query parameter pass unseen.

    Raises:
        Problem: validation-failed.
    """
    if request.scope["query_string"] and (given := given_parameters(request)):
        raise field_errors(
            (pointer([name]), "this route takes no parameters") for name in dict(given)
        )


def path_part(name: str, text: str, rule: TypeAdapter[str]) -> str:
    """Hold a part of a path to the rule of the field that it stands for.

    Raises:
        Problem: validation-failed.
    """
    try:
        return rule.validate_python(text)
    except ValidationError as error:
        raise field_errors((f"/{name}", fault["msg"]) for fault in error.errors()) from None


def response_of(reply: Reply) -> Response:
    """Answer over HTTP."""
    return json_response(reply.body, reply.status, reply.headers)
