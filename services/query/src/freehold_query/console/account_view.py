"""An account as its page is asked for: at which time, in which currency, and which statement."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from freehold.contracts.errors import NotFound
from freehold.ledger.client import Record
from freehold.ledger.points_in_time import NOW, balances_at
from freehold.ledger.statements import Period, StatementTime
from freehold_query.console.parameters import MomentParameters, PeriodParameters
from freehold_query.readers import Reader
from freehold_query.reads import Reads

_MICROSECOND = timedelta(microseconds=1)


class AccountParameters(MomentParameters, PeriodParameters):
    """The parameters of an account's page."""

    currency: str | None = None
    by: StatementTime = "transaction_time"
    order: Literal["asc", "desc"] = "desc"
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account that a reader looks at."""

    reader: Reader
    account_id: str
    query: AccountParameters
    balances: list[Record]
    """In order of currency; one at least."""
    balance: Record
    """The one whose statement is shown."""

    @property
    def currency(self) -> str:
        """The currency of the statement."""
        return str(self.balance["currency"])

    @property
    def period(self) -> Period:
        """The period of the statement: it ends at the point in time that is looked at."""
        query = self.query
        by_happening = query.by == "transaction_time"
        seen_until = query.as_of if by_happening else query.known_at
        until = _earlier(query.to_time, seen_until and seen_until + _MICROSECOND)
        if until is not None and query.from_time is not None:
            until = max(until, query.from_time)
        return Period(self.account_id, self.currency, query.by, query.from_time, until)

    @property
    def through_seq(self) -> int | None:
        """The state of the ledger that the statement is of; None for the newest.

        The balance at a point in time names the last event that it counts.
        """
        if self.query.known_at is None or self.query.by == "recorded_at":
            return None
        return int(self.balance["last_seq"])


async def view_account(
    reads: Reads, reader: Reader, account_id: str, query: AccountParameters
) -> AccountView:
    """Look at an account.

    Raises:
        NotFound: There is no such account, or it has nothing in this currency.
        Overloaded, Unavailable: As every read.
    """
    rows: list[Record] = []
    if reader.may_see(account_id):
        if query.moment == NOW:
            rows = await reads.balances(reader.home, account_id, strong=False)
            # The first events of an account may be yet to be projected.
            rows = rows or await reads.balances(reader.home, account_id, strong=True)
        else:
            async with reads.connection(reader.home, "balances_at") as connection:
                rows = await balances_at(connection, [account_id], query.moment)
    if not rows:
        raise NotFound("No event was ever recorded on this account. Check how its id is spelt.")
    wanted = query.currency or rows[0]["currency"]
    balance = next((row for row in rows if row["currency"] == wanted), None)
    if balance is None:
        raise NotFound("The account has no event in this currency.")
    return AccountView(reader, account_id, query, rows, balance)


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((at for at in (one, other) if at is not None), default=None)
