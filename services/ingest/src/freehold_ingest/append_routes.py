"""Routes that append: each takes its request in the same steps, and is a direct route."""

import re
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel

from freehold.contracts.errors import DomainError
from freehold.http.bodies import json_body, read_body
from freehold.http.direct import Reply
from freehold.http.openapi import answering
from freehold.http.parameters import path_id
from freehold.http.preferences import amounts_as_preferred, prefer_header
from freehold.http.response_headers import documented_headers
from freehold.tenants.homes import Home
from freehold_ingest.admission import Admission
from freehold_ingest.requests import KEY_HEADER, idempotency_key, refuse_parameters

_PATH_ID = re.compile(r"\{((\w+)_id)\}")


class Submission(NamedTuple):
    """A request to append, let in and read."""

    home: Home
    key: str
    body: bytes
    request: Request
    target: UUID
    """The id in its path; zero where its path has none."""


Handler = Callable[[Submission], Awaitable[Reply]]


def add_append_route(
    router: APIRouter,
    admission: Admission,
    path: str,
    handle: Handler,
    *,
    operation_id: str,
    summary: str,
    body: type[BaseModel],
    body_required: bool = True,
    answer: type[BaseModel],
    problems: tuple[type[DomainError], ...],
    preferences: tuple[str, ...] = (),
) -> None:
    """Add a route to a router.

    Args:
        router: Its routes must be included as direct ones.
        admission: Lets requests in.
        path: Has at most one id in it, as `{hold_id}`.
        handle: Appends, and answers.
        operation_id: The name by which clients call it.
        summary: Of the route, for OpenAPI, as are the models of its body and its answer.
        body: The body's model.
        body_required: Whether there must be a body.
        answer: The answer's model.
        problems: Problems of this route alone.
        preferences: A sentence for each preference that it takes beside that of amounts.
    """
    found = _PATH_ID.search(path)

    async def append(request: Request) -> Reply:
        with await admission.let_in(request) as home:
            refuse_parameters(request)
            key = idempotency_key(request)
            target = path_id(request.path_params[found[1]], found[2]) if found else _NO_ID
            content = await read_body(request)
            reply = await handle(Submission(home, key, content, request, target))
            return amounts_as_preferred(request, reply)

    router.add_api_route(
        path,
        append,
        methods=["POST"],
        status_code=201,
        response_model=answer,
        operation_id=operation_id,
        summary=summary,
        responses={201: documented_headers("Preference-Applied")},
        openapi_extra={
            "parameters": [KEY_HEADER, prefer_header(*preferences)],
            **json_body(body, required=body_required),
            **answering(*problems),
        },
    )


_NO_ID = UUID(int=0)
