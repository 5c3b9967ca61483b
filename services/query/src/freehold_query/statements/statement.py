"""Statements of one state of the ledger: what arrives while one is read does not change it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from freehold.contracts.errors import NotFound
from freehold.ledger.client import Record
from freehold.ledger.statements import Period, Totals, statement_lines, statement_totals
from freehold.tenants.homes import Home
from freehold_query.reads import Reads

Position = tuple[datetime, int]
"""The time and the seq of a line."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement, whose lines are read page by page."""

    reads: Reads
    home: Home
    period: Period
    newest_first: bool
    totals: Totals

    async def lines(self, *, after: Position | None, rows_max: int) -> list[Record]:
        """Read the lines that follow a position, or the first ones."""
        async with self.reads.connection(self.home, "statement_lines") as connection:
            return await statement_lines(
                connection,
                self.period,
                through_seq=self.totals.through_seq,
                after=after,
                newest_first=self.newest_first,
                rows_max=rows_max,
            )

    async def pages(self, rows_max: int) -> AsyncIterator[list[Record]]:
        """Read all lines, page by page; the last page may have fewer, or none."""
        after = None
        while True:
            page = await self.lines(after=after, rows_max=rows_max)
            yield page
            if len(page) < rows_max:
                return
            after = self.position(page[-1])

    def position(self, line: Record) -> Position:
        """Give the position of a line."""
        return line[self.period.by], line["seq"]


async def find_statement(
    reads: Reads, home: Home, period: Period, *, newest_first: bool, through_seq: int | None
) -> Statement:
    """Find a statement of a state of the ledger, or of the newest one.

    Raises:
        NotFound: The account has no event in the currency.
    """
    async with reads.connection(home, "statement_totals") as connection:
        totals = await statement_totals(connection, period, through_seq=through_seq)
    if totals is None:
        raise no_such_statement()
    return Statement(reads, home, period, newest_first, totals)


def no_such_statement() -> NotFound:
    """Make the error of an account that never had an event in a currency."""
    return NotFound("the account has no event in this currency")
