"""Cursors of query's lists, each good for one tenant, epoch, list and choice of filters.

One from before a restore is refused: the events at the same place may be others since.
"""

import re
from contextlib import suppress
from uuid import UUID

from freehold.contracts.fields import ACCOUNT_ID_PATTERN
from freehold.service.cursors import Cursors, cursor_refused
from freehold.tenancy.homes import Home

_ACCOUNT_ID = re.compile(ACCOUNT_ID_PATTERN)
_CURRENCY = re.compile("[A-Z]{3}")


class CursorScope(Cursors):
    """One tenant's one list with one choice of filters."""

    def __init__(self, home: Home, name: str, *filters: str | int | None) -> None:
        """Name what cursors are to be good for."""
        super().__init__(home.tenant_id, home.epoch, name, *filters)

    def read_balance(self, cursor: str) -> tuple[str, str]:
        """Give the account and the currency that a page of balances ended with.

        Raises:
            Problem: validation-failed, where the cursor is not exactly one that this list wrote.
        """
        match self.read(cursor):
            case [account_id, currency] if _ACCOUNT_ID.fullmatch(
                account_id
            ) and _CURRENCY.fullmatch(currency):
                return account_id, currency
        raise cursor_refused()

    def read_event(self, cursor: str) -> UUID:
        """Give the id of the event that a page of events ended with.

        Raises:
            Problem: validation-failed, where the cursor is not exactly one that this list wrote.
        """
        match self.read(cursor):
            case [event_id]:
                with suppress(ValueError):
                    return UUID(event_id)
        raise cursor_refused()
