"""The statement on an account's page, some lines at a time."""

from dataclasses import dataclass

from freehold.contracts.errors import NotFound
from freehold.ledger.client import Record
from freehold_query.console.account_view import AccountView
from freehold_query.cursors import CursorScope
from freehold_query.reads import Reads
from freehold_query.statements.statement import Statement, find_statement

_LINES_MAX = 100


@dataclass(frozen=True, slots=True)
class StatementPart:
    """Some lines of a statement, and where they go on."""

    statement: Statement
    lines: list[Record]
    next_cursor: str | None


async def read_lines(reads: Reads, view: AccountView) -> StatementPart | None:
    """Read the lines that are asked for; None if by then nothing was recorded.

    Raises:
        ValidationFailed: Another list wrote the cursor.
        Overloaded, Unavailable: As every read.
    """
    query = view.query
    cursors = CursorScope(
        view.reader.home, "console statement", query, view.account_id, view.currency
    )
    through_seq, after = (None, None) if query.cursor is None else cursors.read_line(query.cursor)
    try:
        statement = await find_statement(
            reads,
            view.reader.home,
            view.period,
            newest_first=query.order == "desc",
            through_seq=view.through_seq if through_seq is None else through_seq,
        )
    except NotFound:
        return None
    lines = await statement.lines(after=after, rows_max=_LINES_MAX + 1)
    shown, next_cursor = lines[:_LINES_MAX], None
    if len(lines) > _LINES_MAX:
        at, seq = statement.position(shown[-1])
        next_cursor = cursors.write(str(statement.totals.through_seq), at.isoformat(), str(seq))
    return StatementPart(statement, shown, next_cursor)
