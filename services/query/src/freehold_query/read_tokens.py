"""The route of read tokens: what a server with an API key hands to a browser."""

import time

import orjson
from fastapi import APIRouter, Request

from freehold.contracts.errors import MissingScope
from freehold.contracts.times import rfc_3339
from freehold.http.bodies import json_body, parse, read_body
from freehold.http.direct import Reply
from freehold.http.parameters import NoQuery, read_query
from freehold.security.api_keys import Scope
from freehold_query.contracts import IssuedReadToken, NewReadToken
from freehold_query.readers import Readers
from freehold_query.tokens import ReadToken, ReadTokens, instant

READ_TOKEN_MODELS = (NewReadToken,)


def read_token_routes(readers: Readers, tokens: ReadTokens) -> APIRouter:
    """Make the route of read tokens. It is a direct one."""
    router = APIRouter(tags=["read tokens"])

    @router.post(
        "/v1/read-tokens",
        operation_id="create_read_token",
        summary="A short-lived token that reads accounts with a prefix",
        description="For browsers, which must not have an API key. It is sent as a key is, to every"
        " route that takes a key with the scope `read`, and sees only accounts whose id begins with"
        " its prefix: others are as unknown as those that do not exist. It ends with its key.",
        status_code=201,
        response_model=IssuedReadToken,
        openapi_extra={**json_body(NewReadToken, required=False)},
    )
    async def make(request: Request) -> Reply:
        reader = await readers.reader(request, Scope.READ)
        if reader.has_token:
            raise MissingScope("a read token makes no other token: send an API key")
        read_query(NoQuery, request)
        wanted = parse(NewReadToken, await read_body(request) or b"{}")
        expires_at = int(time.time()) + wanted.expires_in_s
        if reader.expires_at is not None:
            expires_at = min(expires_at, int(reader.expires_at.timestamp()))
        token = ReadToken(reader.home.tenant_id, reader.key_id, wanted.account_prefix, expires_at)
        document = {"token": tokens.sign(token), "expires_at": rfc_3339(instant(expires_at))}
        return Reply(201, orjson.dumps(document))

    return router
