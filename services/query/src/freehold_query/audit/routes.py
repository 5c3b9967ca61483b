"""The routes of an audit: where the ledger ends, its events with their proof, a verification."""

import json
from collections.abc import AsyncIterator
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from freehold.contracts.imports import NDJSON
from freehold.http.application import response_of
from freehold.http.bodies import field_errors
from freehold.http.parameters import NoQuery, documented_query, read_query
from freehold.http.schemas import Schema, reference, stream_of
from freehold.ledger import client as ledger
from freehold.ledger.client import Head
from freehold.ledger.documents import head_document
from freehold.security.api_keys import Scope
from freehold.tenants.homes import Home
from freehold_query.answers import DOCUMENTED_ANSWERS, answer
from freehold_query.audit.contracts import (
    AUDIT_EVENT_EXAMPLE,
    PROGRESS_EXAMPLE,
    VERDICT_EXAMPLE,
    AuditEvent,
    AuditHead,
    RangeQuery,
    VerificationBrokenOff,
    VerificationProgress,
    VerificationVerdict,
)
from freehold_query.audit.ledger_lines import ledger_lines
from freehold_query.audit.verification import verification
from freehold_query.parameters import documented
from freehold_query.readers import Readers
from freehold_query.reads import Reads
from freehold_query.streamed_answers import answered_within, streamed

VERIFY_PATH = "/v1/audit/verify"
EVENTS_PATH = "/v1/audit/events"
AUDIT_STREAMS = (VERIFY_PATH, EVENTS_PATH)
"""Paths of routes whose answers may have any length."""
AUDIT_MODELS: tuple[type[BaseModel], ...] = (
    AuditEvent,
    VerificationProgress,
    VerificationVerdict,
    VerificationBrokenOff,
)


def _lines_of(*models: type[BaseModel], examples: list[Any]) -> dict[int | str, dict[str, Any]]:
    schema: Schema = stream_of(
        NDJSON,
        *map(reference, models),
        example="".join(f"{json.dumps(example)}\n" for example in examples),
        binary=True,
    )
    return {200: {"content": {NDJSON: {"schema": schema}}}}


def audit_routes(readers: Readers, reads: Reads, *, timeout_s: float) -> APIRouter:
    """Make the routes of an audit.

    Args:
        readers: Authenticates who asks.
        reads: Reads tenants' ledgers.
        timeout_s: An answer begins within this time.
    """
    router = APIRouter(tags=["audit"])

    @router.get(
        "/v1/audit/head",
        operation_id="get_audit_head",
        summary="Where the ledger ends (scope audit)",
        response_model=AuditHead,
        responses=DOCUMENTED_ANSWERS,
        openapi_extra=documented(NoQuery),
    )
    async def get_head(request: Request) -> Response:
        home = (await readers.reader(request, Scope.AUDIT)).home
        read_query(NoQuery, request)
        head = await read_head(reads, home)
        return response_of(answer(request, orjson.dumps(head_document(head))))

    @router.get(
        VERIFY_PATH,
        operation_id="verify_own_ledger",
        summary="Recompute the ledger's hash chain (scope audit)",
        description="Each line has the progress, and the last one the verdict, or why the"
        " verification could not go on. The chain is proved from the stored hash before `from_seq`"
        " on. Without `to_seq` its end is compared with the ledger's head, too. A client that"
        " leaves ends it.",
        response_class=Response,
        responses=_lines_of(
            VerificationProgress,
            VerificationVerdict,
            VerificationBrokenOff,
            examples=[PROGRESS_EXAMPLE, VERDICT_EXAMPLE],
        ),
        openapi_extra={"parameters": documented_query(RangeQuery)},
    )
    async def verify(request: Request) -> Response:
        async with answered_within(timeout_s):
            home = (await readers.reader(request, Scope.AUDIT)).home
            query = read_query(RangeQuery, request)
            lines = verification_lines(reads, home, query)
            return await streamed(request, lines, NDJSON, {}, may_pack=False)

    @router.get(
        EVENTS_PATH,
        operation_id="list_audit_events",
        summary="The ledger's events in order, with all that their hashes cover (scope audit)",
        description="The events that the ledger had when the request came. A connection that breaks"
        " leaves an answer without its end: go on from the next `seq`.",
        response_class=Response,
        responses=_lines_of(AuditEvent, examples=[AUDIT_EVENT_EXAMPLE]),
        openapi_extra={"parameters": documented_query(RangeQuery)},
    )
    async def events(request: Request) -> Response:
        async with answered_within(timeout_s):
            home = (await readers.reader(request, Scope.AUDIT)).home
            query = read_query(RangeQuery, request)
            head = await read_head(reads, home)
            _refuse_beyond(query, head)
            pages = ledger_lines(reads, home, query.from_seq, query.to_seq or head.seq)
            lines = (b"".join(map(_line, page)) async for page in pages)
            return await streamed(request, lines, NDJSON, {})

    return router


async def read_head(reads: Reads, home: Home) -> Head:
    """Read where a ledger ends.

    Raises:
        Overloaded, Unavailable: It cannot be read.
    """
    async with reads.connection(home, "head") as connection:
        return await ledger.head(connection)


async def verification_lines(reads: Reads, home: Home, asked: RangeQuery) -> AsyncIterator[bytes]:
    """Verify a range of a ledger, and write the progress and the verdict as lines of JSON.

    Raises:
        ValidationFailed: The ledger does not have the range.
        Overloaded, Unavailable: The ledger cannot be read.
    """
    head = await read_head(reads, home)
    _refuse_beyond(asked, head)
    async for document in verification(reads, home, asked, head.seq):
        yield _line(document)


def _line(document: dict[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)


def _refuse_beyond(asked: RangeQuery, head: Head) -> None:
    """Refuse a range that the ledger does not have: a ledger that was cut must not look whole.

    Raises:
        ValidationFailed: It is such a range.
    """
    bounds = {"from_seq": head.seq + 1, "to_seq": head.seq}
    broken = [(name, most) for name, most in bounds.items() if (getattr(asked, name) or 0) > most]
    if broken:
        raise field_errors(
            (f"/{name}", f"{name} must be at most {most}: the ledger ends at seq {head.seq}")
            for name, most in broken
        )
