"""Records every act of an operator: before it runs, and with its outcome.

An act that cannot be recorded is refused. One whose end is missing was cut short, or its end could
not be written: what came of it is then found in what it changed.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import structlog
from starlette.requests import ClientDisconnect

from freehold.contracts.errors import DomainError, Internal, Overloaded, Unavailable
from freehold.http.catalogue import CATALOGUE
from freehold.observability.logs import current_request_id
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.operators.act_store import append_act
from freehold_tenant_manager.operators.authority import Operator

_log = structlog.get_logger(__name__)
_current: ContextVar["Act | None"] = ContextVar("freehold_act", default=None)


@dataclass(slots=True)
class Act:
    """An act that is under way."""

    stated: Mapping[str, Any]
    """What each of its entries says, by the names of columns."""
    outcome: dict[str, Any] = field(default_factory=lambda: {"status": 200})


def current_act() -> Act | None:
    """Give the act that the running request is; None where it is none."""
    return _current.get()


class Acts:
    """Appends to the audit log."""

    def __init__(self, catalog: Catalog, require_ready: Callable[[], None]) -> None:
        """Set up; `require_ready` raises Unavailable until the catalog is set up."""
        self._catalog = catalog
        self._require_ready = require_ready

    @asynccontextmanager
    async def recorded(
        self,
        operator: Operator,
        act: str,
        *,
        tenant_id: str | None = None,
        target: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[Act]:
        """Record an act, which runs in this context and may set its `outcome`.

        Args:
            operator: Who acts.
            act: The operation id of what is asked for.
            tenant_id: Whom it concerns.
            target: What else it concerns.
            details: What is asked for; never a secret.

        Raises:
            Unavailable, Overloaded: It cannot be recorded, and did not begin.
        """
        self._require_ready()
        act_id: UUID = uuid4()
        recorded = Act(
            {
                "act_id": act_id,
                "operator": operator.name,
                "role": operator.role.value,
                "credential": operator.credential,
                "act": act,
                "tenant_id": tenant_id,
                "target": target,
                "details": dict(details or {}),
                "address": operator.address,
                "request_id": current_request_id(),
            }
        )
        await self._append(recorded, "begun", None)
        token = _current.set(recorded)
        try:
            yield recorded
        except BaseException as error:
            recorded.outcome |= _outcome_of(error)
            raise
        finally:
            _current.reset(token)
            await self._end(recorded)

    async def _end(self, act: Act) -> None:
        try:
            await self._append(act, "ended", act.outcome)
        except DomainError as error:
            # The act is done, and its beginning is in the log.
            _log.error(
                "the end of an operator's act is not in the audit log",
                act_id=str(act.stated["act_id"]),
                act=act.stated["act"],
                outcome=act.outcome,
                fault=error.detail,
            )

    async def _append(self, act: Act, phase: str, outcome: Mapping[str, Any] | None) -> None:
        async with self._catalog.connection() as connection:
            await append_act(connection, {**act.stated, "phase": phase, "outcome": outcome})


def _outcome_of(error: BaseException) -> dict[str, Any]:
    if isinstance(error, ClientDisconnect):
        return {"status": 499}
    kind: type[DomainError] = Internal
    if isinstance(error, DomainError):
        kind = type(error)
    elif isinstance(error, TimeoutError):
        kind = Overloaded
    elif not isinstance(error, Exception):
        # The request was cancelled: it is late, or the service stops.
        kind = Unavailable
    return {"status": CATALOGUE[kind].status, "problem": kind.slug}
