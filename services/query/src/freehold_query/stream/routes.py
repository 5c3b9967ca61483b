"""The route of live balances."""

import json
from functools import partial
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from starlette.types import Receive, Scope, Send

from freehold.contracts.errors import TooManyRequests
from freehold.contracts.fields import AccountPrefix
from freehold.contracts.problems import ProblemDocument
from freehold.contracts.values import CURSOR_PATTERN
from freehold.http.bodies import header_values
from freehold.http.openapi import answering
from freehold.http.parameters import (
    Boolean,
    NoQuery,
    documented_query,
    given_parameters,
    read_query,
)
from freehold.http.preferences import prefer_header, prefers_strings
from freehold.http.schemas import Schema, reference, stream_of
from freehold.security import api_keys
from freehold_query.contracts import ACCOUNT_BALANCE_EXAMPLE, AccountBalance
from freehold_query.readers import Readers
from freehold_query.stream.admission import Admission
from freehold_query.stream.contracts import Restart
from freehold_query.stream.streams import Stream

STREAM_PATH = "/v1/stream"
STREAM_MODELS = (Restart,)
_MEDIA_TYPE = "text/event-stream"
_DESCRIPTION = """
Each `event: balance` has a balance that changed, as in `/v1/balances`. Changes between two of a
balance may be left out; its last one never is. Every balance has an `id`: sent back as
`Last-Event-ID` it resumes the stream after it, and nothing that has changed meanwhile is lost.
With `snapshot=true` all balances come first, unless a stream is resumed.

`event: restart`: the tenant's ledger was restored. Forget all balances: they all follow anew.

`event: problem`: the stream ends, and why, as a problem document: the credential was revoked or
has expired, or the tenant was suspended.

Comments are sent when nothing else is, so that a dead connection is found. A client that reads
nothing for 30 s is disconnected.
"""

_POSITION: dict[str, Any] = {"pattern": CURSOR_PATTERN}


def _event(name: str, data: type[BaseModel], **more: Schema) -> Schema:
    members = {"event": {"type": "string", "const": name}, **more, "data": reference(data)}
    return {"type": "object", "properties": members, "required": list(members)}


_SCHEMA = stream_of(
    _MEDIA_TYPE,
    _event("balance", AccountBalance, id={"type": "string", **_POSITION}),
    _event("restart", Restart),
    _event("problem", ProblemDocument),
    example=f"event: balance\nid: MTo3\ndata: {json.dumps(ACCOUNT_BALANCE_EXAMPLE)}\n\n",
)


class StreamQuery(NoQuery):
    """Parameters of a live stream."""

    account_prefix: AccountPrefix = ""
    snapshot: Boolean = Field(default=False, description="`true` sends all balances first.")
    amounts: Literal["integer", "string"] = Field(
        default="integer", description="`string` is as `Prefer: amounts=string`."
    )
    last_event_id: str | None = Field(
        default=None,
        description="As the header Last-Event-ID, which precedes it.",
        json_schema_extra=_POSITION,
    )
    token: str | None = Field(
        default=None,
        description="A read token, where no header can be sent. Never an API key.",
        json_schema_extra={"maxLength": 4096},
    )


class EventStream(StreamingResponse):
    """The answer, which closes its stream whatever happens."""

    media_type = _MEDIA_TYPE

    def __init__(self, admission: Admission, stream: Stream) -> None:
        # Proxies pass it on at once.
        super().__init__(stream.frames(), headers={"X-Accel-Buffering": "no"})
        self._admission = admission
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream until it or its client ends."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._admission.close(self._stream)


_LAST_EVENT_ID: dict[str, Any] = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The id of the last event of an earlier stream with the same `account_prefix`.",
    "schema": {"type": "string", **_POSITION},
}


def stream_routes(readers: Readers, admission: Admission) -> APIRouter:
    """Make the route of live balances."""
    router = APIRouter(tags=["stream"])

    @router.get(
        STREAM_PATH,
        operation_id="stream_balances",
        summary="Balances as they change (Server-Sent Events)",
        description=_DESCRIPTION,
        response_class=Response,
        responses={200: {"content": {_MEDIA_TYPE: {"schema": _SCHEMA}}}},
        openapi_extra={
            "parameters": [*documented_query(StreamQuery), prefer_header(), _LAST_EVENT_ID],
            **answering(TooManyRequests),
        },
    )
    async def stream(request: Request) -> EventStream:
        token = dict(given_parameters(request)).get("token")
        authenticate = partial(readers.reader, request, api_keys.Scope.READ, token=token)
        reader = await authenticate()
        query = read_query(StreamQuery, request)
        headers = header_values(request, b"last-event-id")
        opened = await admission.open(
            reader,
            authenticate,
            account_prefix=query.account_prefix,
            snapshot=query.snapshot,
            last_event_id=(headers[0] if headers else None) or query.last_event_id,
            as_strings=query.amounts == "string" or prefers_strings(request),
        )
        return EventStream(admission, opened)

    return router
