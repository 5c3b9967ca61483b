"""Prints statements as PDF, one at a time: nothing else here keeps the interpreter so busy."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from weakref import WeakValueDictionary

from freehold.contracts.errors import StatementTooLong
from freehold_query.statements.pdf_document import pdf_document
from freehold_query.statements.statement import Statement

PDF_LINES_MAX = 5_000


class Printer:
    """The printer of a process. Tenants take turns, however much each of them has printed."""

    def __init__(self) -> None:
        # A caller that gives up leaves the thread to its work, and the next one waits for it.
        self._thread = ThreadPoolExecutor(1, "statement-printer")
        self._turn = asyncio.Lock()
        # A tenant's entry lives as long as one of their statements.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def print(self, statement: Statement) -> bytes:
        """Print a statement; who waits holds no lines.

        Raises:
            StatementTooLong: It has more than `PDF_LINES_MAX` lines.
            Overloaded, Unavailable: As every read.
        """
        turn = self._turns.setdefault(statement.home.tenant_id, asyncio.Lock())
        async with turn, self._turn:
            lines = await statement.lines(after=None, rows_max=PDF_LINES_MAX + 1)
            if len(lines) > PDF_LINES_MAX:
                raise StatementTooLong(
                    f"a PDF has at most {PDF_LINES_MAX} lines: ask for a shorter period, or for CSV"
                )
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, pdf_document, statement, lines, datetime.now(UTC)
            )
