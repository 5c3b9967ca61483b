"""The sampler: goes round all tenants slowly, and writes to the catalog what each of them uses.

One statement reads what the server counts for all databases. A tenant's own database is asked only
if it was written to since, or was behind: so a round costs what happens, not how many tenants there
are. One process at a time goes round.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog
from pydantic import SecretStr

from freehold.contracts.times import uuid_time_s
from freehold.ledger import client
from freehold.ledger.client import Connection
from freehold.messaging.broker import LOST
from freehold.messaging.redrive import count_parked
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.overview.ledgers import Ledgers
from freehold_tenant_manager.usage.samples import (
    LedgerFigures,
    Question,
    begin_round,
    choose_to_ask,
    end_round,
    keep_samples,
    measure,
    read_server,
    save_answers,
)

_log = structlog.get_logger(__name__)

# Bound what a round costs where everybody is busy: others have their turn in the next one.
_ASKED_MAX = 100
_AT_ONCE = 2
_KEEP_EVERY_S = 300.0
_BROKER_S = 2.0
# A process that comes a little early goes round all the same.
_EARLY = 0.9


class Sampler:
    """Samples what tenants of one server use."""

    def __init__(
        self,
        catalog: Catalog,
        ledgers: Ledgers,
        amqp_url: SecretStr | None,
        *,
        cluster: str,
        every_s: float,
    ) -> None:
        """Set where to look.

        Args:
            catalog: Takes the figures; its server is the cluster.
            ledgers: Tenants' databases.
            amqp_url: The broker, if one is known.
            cluster: The server's name.
            every_s: Seconds between two rounds.
        """
        self._catalog = catalog
        self._ledgers = ledgers
        self._amqp_url = amqp_url
        self._cluster = cluster
        self._every_s = every_s

    async def sample_if_due(self) -> bool:
        """Go round, unless another process just does; False: there is no more now.

        Raises:
            Unavailable, Overloaded: The catalog does not answer.
            TimeoutError: The round took longer than the time until the next one.
        """
        async with self._catalog.connection() as connection:
            is_due = await begin_round(connection, self._every_s * _EARLY)
        if is_due:
            async with asyncio.timeout(self._every_s):
                await self._go_round()
        return False

    async def _go_round(self) -> None:
        async with self._catalog.connection() as connection:
            await read_server(connection, self._cluster)
            questions = await choose_to_ask(connection, _ASKED_MAX)
            await measure(connection, [question.tenant_id for question in questions])
        answers = await self._ask(questions)
        parked = await self._parked()
        async with self._catalog.connection() as connection:
            await save_answers(connection, answers)
            await keep_samples(connection, _KEEP_EVERY_S)
            await end_round(connection, parked)

    async def _ask(self, questions: Sequence[Question]) -> list[LedgerFigures]:
        """Ask the tenants' databases, a few at once; those that answer are given."""
        answers: list[LedgerFigures] = []
        waiting = deque(questions)

        async def ask() -> None:
            while waiting:
                if (answer := await self._ask_one(waiting.popleft())) is not None:
                    answers.append(answer)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(_AT_ONCE, len(questions))):
                group.create_task(ask())
        return answers

    async def _ask_one(self, question: Question) -> LedgerFigures | None:
        async with self._catalog.connection() as connection:
            home = await self._ledgers.home(connection, question.tenant_id)

        async def figures(connection: Connection) -> LedgerFigures:
            return await _figures(connection, question)

        return await self._ledgers.ask(home, figures) if home else None

    async def _parked(self) -> int | None:
        if self._amqp_url is None:
            return None
        url = self._amqp_url.get_secret_value()
        try:
            return await count_parked(url, timeout_s=_BROKER_S)
        except LOST as error:
            _log.warning("broker silent", fault=repr(error))
            return None


async def _figures(connection: Connection, question: Question) -> LedgerFigures:
    lag = await client.projection_lag(connection)
    accounts = await client.estimated_balances(connection)
    unarchived = None
    if lag.head_seq > question.archived_seq:
        unarchived = await client.event_id_at(connection, question.archived_seq + 1)
    return LedgerFigures(
        question.tenant_id,
        known_writes=question.server_writes,
        events=lag.head_seq,
        accounts=accounts,
        events_behind=lag.events_behind,
        seconds_behind=lag.seconds_behind,
        unarchived_seq=None if unarchived is None else question.archived_seq + 1,
        unarchived_at=None
        if unarchived is None
        else datetime.fromtimestamp(uuid_time_s(unarchived), UTC),
    )
