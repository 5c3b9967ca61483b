"""Balanced transactions: their legs are appended together, and reversed together."""

from collections.abc import Sequence

import orjson
from fastapi import APIRouter

from freehold.contracts.errors import (
    AlreadyRefunded,
    AlreadyReversed,
    DuplicateExternalId,
    InsufficientFunds,
    NotReversible,
    RefundNotAllowed,
)
from freehold.contracts.events import NewEvent, NewReversal
from freehold.contracts.transactions import AppendedTransaction, NewTransaction
from freehold.http.bodies import parse
from freehold.http.direct import Reply
from freehold.ledger.append import Answer, AppendRequest, Outcome, Reversal, fingerprint
from freehold.ledger.documents import new_transaction_json, transaction_document
from freehold_ingest.admission import Admission
from freehold_ingest.answers import reply
from freehold_ingest.append_routes import Submission, add_append_route
from freehold_ingest.appender import Appender
from freehold_ingest.intake import refuse_repeated_external_ids
from freehold_ingest.limits import Limits

TRANSACTION_MODELS = (NewTransaction, NewReversal)


class Transactions:
    """Appends transactions. Every refusal is a DomainError."""

    def __init__(self, appender: Appender, limits: Limits) -> None:
        self._appender = appender
        self._limits = limits

    async def append(self, asked: Submission) -> Reply:
        """Append a transaction's legs: all or none."""
        legs = _legs(parse(NewTransaction, asked.body))
        self._limits.spend(asked.home, len(legs))
        refuse_repeated_external_ids(legs, "/legs")
        wanted = AppendRequest(asked.key, fingerprint("transaction", legs), legs, transaction=True)
        answer = await self._appender.append(asked.home, wanted)
        return reply(answer, _transaction, "/legs")

    async def reverse(self, asked: Submission) -> Reply:
        """Append the transaction that undoes another: the reversals of all its legs."""
        additions = [Reversal(asked.target, parse(NewReversal, asked.body or b"{}"))]
        operation = fingerprint("transaction-reversal", additions)
        wanted = AppendRequest(asked.key, operation, additions, transaction=True)
        answer = await self._appender.append(asked.home, wanted)
        if answer.outcome is Outcome.CREATED:
            self._limits.charge(asked.home, len(answer.events))
        if answer.outcome is Outcome.ALREADY_REVERSED:
            # The first leg's reversal is the first leg of the reversing transaction, and so its id.
            existing = str(answer.conflicting_id)
            raise AlreadyReversed(
                f"the transaction was reversed by transaction {existing}",
                existing_transaction_id=existing,
            )
        return reply(answer, _transaction, None)


def transaction_routes(admission: Admission, transactions: Transactions) -> APIRouter:
    """Make the routes of transactions."""
    router = APIRouter(prefix="/v1/transactions", tags=["transactions"])

    add_append_route(
        router,
        admission,
        "",
        transactions.append,
        operation_id="append_transaction",
        summary="Append events that sum to zero in each currency: all or none.",
        body=NewTransaction,
        answer=AppendedTransaction,
        problems=(DuplicateExternalId, RefundNotAllowed, InsufficientFunds),
    )

    add_append_route(
        router,
        admission,
        "/{transaction_id}/reversal",
        transactions.reverse,
        operation_id="reverse_transaction",
        summary="Append the transaction that undoes another.",
        body=NewReversal,
        body_required=False,
        answer=AppendedTransaction,
        problems=(AlreadyReversed, AlreadyRefunded, NotReversible, InsufficientFunds),
    )
    return router


def _legs(transaction: NewTransaction) -> Sequence[NewEvent]:
    if transaction.transaction_time is None:
        return transaction.legs
    given = {"transaction_time": transaction.transaction_time}
    return [
        leg if leg.transaction_time else leg.model_copy(update=given) for leg in transaction.legs
    ]


def _transaction(answer: Answer) -> bytes:
    if new := answer.new_events:
        return new_transaction_json(new)
    return orjson.dumps(transaction_document(answer.events))
