"""Positions of live streams, as clients send them back in Last-Event-ID."""

import re
from typing import NamedTuple
from uuid import UUID

from freehold.contracts.errors import DomainError, ValidationFailed
from freehold.http.bodies import field_errors
from freehold.http.cursors import Cursors
from freehold_query.cursors import names_balance

_EPOCH = re.compile("[1-9][0-9]{0,17}", re.ASCII)

BEGINNING = ("", "")
"""Before the first account and currency of a list."""


class Span(NamedTuple):
    """A part of a list of balances, such as a page: named by accounts and currencies."""

    after: tuple[str, str] = BEGINNING
    """Balances after this one are in it."""
    through: tuple[str, str] | None = None
    """The last one that is in it; None if it has no end."""

    def has(self, account_id: str, currency: str) -> bool:
        """Say whether a balance is in it. Account ids are ASCII: Postgres sorts them likewise."""
        balance = account_id, currency
        return self.after < balance and (self.through is None or balance <= self.through)


WHOLE = Span()


class Position(NamedTuple):
    """How far a stream has got."""

    epoch: int
    event_id: UUID
    """The changes up to this event were sent."""
    listed: tuple[str, str] | None = None
    """Of a snapshot, or what stands for one: the account and currency it has reached."""


class Positions(Cursors):
    """The ids of one tenant's streams with one prefix and span.

    They name their epoch, so that one from before a restore is known as such.
    """

    def __init__(self, tenant_id: str, account_prefix: str | None, span: Span = WHOLE) -> None:
        shown = () if span == WHOLE else (*span.after, *(span.through or ()))
        super().__init__(tenant_id, "stream", account_prefix, *shown)

    def id_of(self, position: Position) -> str:
        """Make the id of a position."""
        return self.write(str(position.epoch), str(position.event_id), *(position.listed or ()))

    def position_of(self, event_id: str) -> Position:
        """Read an id.

        Raises:
            ValidationFailed: No stream of this tenant with this prefix sent it.
        """
        try:
            match self.read(event_id):
                case [epoch, event, *listed] if _EPOCH.fullmatch(epoch):
                    return Position(int(epoch), UUID(event), _listed(listed))
        except (ValidationFailed, ValueError):
            pass
        raise _refused()


def _listed(parts: list[str]) -> tuple[str, str] | None:
    match parts:
        case []:
            return None
        case ["", ""]:
            return BEGINNING
        case [account_id, currency] if names_balance(account_id, currency):
            return account_id, currency
    raise ValueError("not a place in a list of balances")


def _refused() -> DomainError:
    return field_errors(
        [
            (
                "/last_event_id",
                "last_event_id must be an id that a stream with this account_prefix sent",
            )
        ]
    )
