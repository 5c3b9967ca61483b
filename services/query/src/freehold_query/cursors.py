"""Cursors of query's lists. Each is valid for one tenant, epoch, list and set of filters.

A cursor from before a restore is refused: other events may be at its position now.
"""

import json
import re
from contextlib import suppress
from datetime import datetime
from uuid import UUID

from pydantic import TypeAdapter

from freehold.contracts.fields import PointInTime, is_account_id
from freehold.http.cursors import Cursors, cursor_refused
from freehold.http.parameters import NoQuery
from freehold.tenants.homes import Home

_CURRENCY = re.compile("[A-Z]{3}")
_SEQ = re.compile("[1-9][0-9]{0,17}", re.ASCII)
_TIME: TypeAdapter[datetime] = TypeAdapter(PointInTime)


def names_balance(account_id: str, currency: str) -> bool:
    """Say whether there may be a balance of this account in this currency."""
    return is_account_id(account_id) and bool(_CURRENCY.fullmatch(currency))


class CursorScope(Cursors):
    """The cursors of one tenant's list with one set of filters."""

    def __init__(self, home: Home, name: str, query: NoQuery, *filters: str | None) -> None:
        """Name what the cursors are valid for: the query's filters, and what else narrows it."""
        asked = query.model_dump(mode="json", exclude={"limit", "cursor", "through"})
        super().__init__(
            home.tenant_id, home.epoch, name, json.dumps(asked, sort_keys=True), *filters
        )

    def read_balance(self, cursor: str) -> tuple[str, str]:
        """Read the account and the currency of the last balance of a page.

        Raises:
            ValidationFailed: This list did not write the cursor.
        """
        match self.read(cursor):
            case [account_id, currency] if names_balance(account_id, currency):
                return account_id, currency
        raise cursor_refused()

    def read_event(self, cursor: str) -> UUID:
        """Read the id of the last event of a page.

        Raises:
            ValidationFailed: This list did not write the cursor.
        """
        match self.read(cursor):
            case [event_id]:
                with suppress(ValueError):
                    return UUID(event_id)
        raise cursor_refused()

    def read_line(self, cursor: str) -> tuple[int, tuple[datetime, int]]:
        """Read a statement's seq, and the time and the seq of the last line of a page.

        Raises:
            ValidationFailed: This list did not write the cursor.
        """
        match self.read(cursor):
            case [through_seq, at, seq] if _SEQ.fullmatch(through_seq) and _SEQ.fullmatch(seq):
                with suppress(ValueError):
                    return int(through_seq), (_TIME.validate_python(at), int(seq))
        raise cursor_refused()

    def write_activity(self, start: datetime, currency: str, event_type: str) -> str:
        """Make the cursor of a position in activity."""
        return self.write(start.isoformat(), currency, event_type)

    def read_activity(self, cursor: str) -> tuple[datetime, str, str]:
        """Read the start of a bucket, a currency and an event type: a position in activity.

        Raises:
            ValidationFailed: This list did not write the cursor.
        """
        match self.read(cursor):
            case [start, currency, event_type]:
                with suppress(ValueError):
                    return _TIME.validate_python(start), currency, event_type
        raise cursor_refused()
