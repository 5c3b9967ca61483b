"""Balanced transactions: their legs are appended together, and reversed together."""

from collections.abc import Sequence
from uuid import UUID

import orjson
from fastapi import APIRouter, Request, Response

from freehold.contracts.events import NewEvent, NewReversal
from freehold.contracts.problems import ALREADY_REVERSED, NOT_FOUND, Problem
from freehold.contracts.transactions import AppendedTransaction, NewTransaction
from freehold.ledger import client as ledger
from freehold.ledger.appending import Answer, AppendRequest, Outcome, Reversal, fingerprint
from freehold.ledger.rendering import transaction_document
from freehold.service.bodies import json_body, parse, read_body
from freehold.service.parameters import path_id
from freehold.tenancy.homes import Home
from freehold_ingest.admission import Admission
from freehold_ingest.answers import Reply, reply
from freehold_ingest.appender import Appender
from freehold_ingest.calls import Calls
from freehold_ingest.intake import refuse_repeated_external_ids
from freehold_ingest.limits import Limits
from freehold_ingest.requests import (
    KEY_HEADER,
    idempotency_key,
    refuse_parameters,
    response_of,
)

TRANSACTION_MODELS = (NewTransaction, NewReversal)


class Transactions:
    """Appends transactions. Every refusal is a Problem."""

    def __init__(self, appender: Appender, calls: Calls, limits: Limits) -> None:
        self._appender = appender
        self._calls = calls
        self._limits = limits

    async def append(self, home: Home, key: str, body: bytes) -> Reply:
        """Append a transaction's legs: all or none."""
        legs = _legs(parse(NewTransaction, body))
        self._limits.spend(home, len(legs))
        refuse_repeated_external_ids(legs, "/legs")
        wanted = AppendRequest(key, fingerprint("transaction", legs), legs, transaction=True)
        answer = await self._appender.append(home, wanted)
        return reply(answer, _transaction, wanted, "/legs")

    async def reverse(self, home: Home, key: str, transaction_id: UUID, body: bytes) -> Reply:
        """Append the transaction that undoes another: the reversals of all its legs."""
        details = parse(NewReversal, body or b"{}")
        # Legs never change, so they may be read beforehand.
        async with self._calls.connection(home, "legs") as connection:
            legs = await ledger.legs(connection, transaction_id)
        if not legs:
            raise Problem(NOT_FOUND, "there is no such transaction")
        self._limits.spend(home, len(legs))
        reversals = [Reversal(leg["event_id"], details) for leg in legs]
        operation = fingerprint("transaction-reversal", reversals)
        wanted = AppendRequest(key, operation, reversals, transaction=True)
        answer = await self._appender.append(home, wanted)
        if answer.outcome is Outcome.ALREADY_REVERSED:
            # The first leg's reversal is the first leg of the reversing transaction, and so its id.
            existing = str(answer.conflicting_id)
            raise Problem(
                ALREADY_REVERSED,
                f"the transaction was reversed by transaction {existing}",
                existing_transaction_id=existing,
            )
        return reply(answer, _transaction, wanted, None, legs)


def transaction_routes(admission: Admission, transactions: Transactions) -> APIRouter:
    """Make the routes of transactions."""
    router = APIRouter(prefix="/v1/transactions", tags=["transactions"])

    @router.post(
        "",
        status_code=201,
        response_model=AppendedTransaction,
        summary="Append events that sum to zero in each currency: all or none.",
        openapi_extra={"parameters": [KEY_HEADER], **json_body(NewTransaction)},
    )
    async def post_transaction(request: Request) -> Response:
        async with admission.of(request) as home:
            refuse_parameters(request)
            key = idempotency_key(request)
            return response_of(await transactions.append(home, key, await read_body(request)))

    @router.post(
        "/{transaction_id}/reversal",
        status_code=201,
        response_model=AppendedTransaction,
        summary="Append the transaction that undoes another.",
        openapi_extra={"parameters": [KEY_HEADER], **json_body(NewReversal, required=False)},
    )
    async def post_reversal(request: Request, transaction_id: str) -> Response:
        async with admission.of(request) as home:
            refuse_parameters(request)
            key = idempotency_key(request)
            wanted = path_id(transaction_id, "transaction")
            return response_of(
                await transactions.reverse(home, key, wanted, await read_body(request))
            )

    return router


def _legs(transaction: NewTransaction) -> Sequence[NewEvent]:
    given = {"transaction_time": transaction.transaction_time}
    return [
        leg if leg.transaction_time else leg.model_copy(update=given) for leg in transaction.legs
    ]


def _transaction(answer: Answer) -> bytes:
    return orjson.dumps(transaction_document(answer.events))
