"""A statement as PDF: A4 sheets in Lato, which has the Latin, Greek and Cyrillic scripts.

A character that the font lacks is shown as a box. The same statement, printed at the same time, has
the same bytes.
"""

import logging
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, cast
from unicodedata import normalize

import fontpkg_lato
from fpdf import FPDF
from fpdf.fonts import TTFFont

from freehold.contracts.currency import major_units
from freehold.ledger.client import Record
from freehold.ledger.statements import Period
from freehold_query.statements.statement import Statement

PDF = "application/pdf"

# It logs each step of each print, and which characters the statement has.
logging.getLogger("fontTools").setLevel(logging.WARNING)

_FONT = "Lato"
_STYLES = {"": "Lato-Regular.ttf", "B": "Lato-Bold.ttf"}
_INK, _GREY, _LINE, _PALE = 32, 110, 205, 242
# Lengths are in millimetres, as in fpdf; sizes of letters in points.
_MARGIN = 15.0
_WIDTH = 180.0
_BOTTOM = 276.0
_ROW = 6.0
_TEXT_PT, _SMALL_PT = 9.0, 8.0
_COLUMNS = (
    ("Date (UTC)", 30.0, "L"),
    ("Description", 80.0, "L"),
    ("Amount", 35.0, "R"),
    ("Balance", 35.0, "R"),
)
_BOX = "\N{WHITE SQUARE}"
_CUT = "\N{HORIZONTAL ELLIPSIS}"


class _Row(NamedTuple):
    """A row of the table, as text for each column."""

    date: str
    description: str
    amount: str
    balance: str
    style: str = ""


def pdf_document(statement: Statement, lines: Sequence[Record], printed_at: datetime) -> bytes:
    """Print a statement.

    Args:
        statement: What to print.
        lines: All of its lines.
        printed_at: When it is printed, in UTC.
    """
    sheets = _Sheets(statement, printed_at)
    sheets.print_table(list(_rows(statement, lines)))
    return bytes(sheets.output())


class _Sheets(FPDF):
    """The sheets of a statement."""

    def __init__(self, statement: Statement, printed_at: datetime) -> None:
        super().__init__()
        self._statement = statement
        self._tenant = statement.home.name
        self._printed_at = printed_at
        self._pages = 1
        for style, file in _STYLES.items():
            self.add_font(_FONT, style, fontpkg_lato.ROOT / "files" / file)
        self._known = cast("TTFFont", self.fonts[_FONT.lower()]).cmap
        self.set_margins(_MARGIN, _MARGIN)
        self.set_auto_page_break(auto=False)
        # A name that has the alias in it stays as it is.
        self.alias_nb_pages("")
        self.set_creation_date(printed_at)
        self.set_title(f"Statement of account {statement.period.account_id}")
        self.set_author(self._tenant)
        self.set_lang("en")
        self.add_page()
        self._print_summary()

    def print_table(self, rows: Sequence[_Row]) -> None:
        """Print the table, on as many pages as it needs."""
        on_first = int((_BOTTOM - self.y) / _ROW) - 1
        on_others = int((_BOTTOM - _MARGIN - 2 * _ROW) / _ROW) - 1
        starts = [0, *range(on_first, len(rows), on_others)]
        self._pages = len(starts)
        for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
            if start:
                self.add_page()
            self._print_table_head()
            for row in rows[start:end]:
                self._print_row(row)

    def header(self) -> None:
        """Print the head of a page: the whole letterhead on the first one, a line on others."""
        if self.page == 1:
            self._font(11, "B", grey=True)
            self._cell(_WIDTH, 8, "Account statement", align="R")
            self.set_xy(_MARGIN, _MARGIN)
            self._font(17, "B")
            self._lines(_WIDTH - 45, 8, self._tenant)
            self.y += 2
            self._rule()
            self.y += 3
            return
        period = self._statement.period
        self._font(_SMALL_PT, grey=True)
        self._cell(90, _ROW, self._cut(self._tenant, 88))
        self._cell(90, _ROW, self._cut(f"{period.account_id}, {period.currency}", 88), align="R")
        self.set_xy(_MARGIN, _MARGIN + 2 * _ROW)

    def footer(self) -> None:
        """Print the foot of a page: of what state the statement is, and the number of the page."""
        self.set_xy(_MARGIN, _BOTTOM + 2)
        self._rule()
        self._font(_SMALL_PT, grey=True)
        state = (
            f"Printed {_minute(self._printed_at)} UTC,"
            f" of the ledger through event {self._statement.totals.through_seq}"
        )
        self._cell(140, _ROW, state)
        self._cell(40, _ROW, f"Page {self.page} of {self._pages}", align="R")

    def _print_summary(self) -> None:
        period, totals = self._statement.period, self._statement.totals
        recorded = period.by == "recorded_at"
        for label, text in (
            ("Account", period.account_id),
            ("Currency", period.currency),
            ("Period", _span(period)),
            ("Dates", "When an entry was recorded" if recorded else "When an entry took effect"),
        ):
            self._font(_TEXT_PT, grey=True)
            self._cell(25, 5, label)
            self._font(_TEXT_PT)
            self._lines(_WIDTH - 25, 5, text)
        self.y += 3
        sums = (
            ("Opening balance", totals.opening_balance_minor),
            ("Money in", totals.total_in_minor),
            ("Money out", totals.total_out_minor),
            ("Closing balance", totals.closing_balance_minor),
        )
        self.set_fill_color(_PALE)
        self.rect(_MARGIN, self.y, _WIDTH, 15, style="F")
        top, width = self.y, _WIDTH / len(sums)
        for number, (label, amount_minor) in enumerate(sums):
            self.set_xy(_MARGIN + number * width, top + 2)
            self._font(_SMALL_PT, grey=True)
            self._cell(width, 5, label)
            self.set_xy(_MARGIN + number * width, top + 7)
            self._font(11, "B")
            self._fitted_cell(width, 6, self._amount(amount_minor), align="L")
        self.set_xy(_MARGIN, top + 20)

    def _print_table_head(self) -> None:
        self._font(_SMALL_PT, "B", grey=True)
        for title, width, align in _COLUMNS:
            self._cell(width, _ROW, title, align=align)
        self._next_row()

    def _print_row(self, row: _Row) -> None:
        self._font(_TEXT_PT, row.style)
        (_, date_width, _), (_, width, _), *amounts = _COLUMNS
        self._cell(date_width, _ROW, row.date)
        self._cell(width, _ROW, self._cut(row.description, width - 2 * self.c_margin))
        for (_, width, align), text in zip(amounts, row[2:4], strict=True):
            self._fitted_cell(width, _ROW, text, align=align)
        self._next_row()

    def _next_row(self) -> None:
        self.set_xy(_MARGIN, self.y + _ROW)
        self._rule()

    def _rule(self) -> None:
        self.set_draw_color(_LINE)
        self.set_line_width(0.1)
        self.line(_MARGIN, self.y, _MARGIN + _WIDTH, self.y)

    def _font(self, size_pt: float, style: str = "", *, grey: bool = False) -> None:
        self.set_font(_FONT, style, size_pt)
        self.set_text_color(_GREY if grey else _INK)

    def _cell(self, width: float, height: float, text: str, *, align: str = "L") -> None:
        self.cell(width, height, self._shown(text), align=align)

    def _fitted_cell(self, width: float, height: float, text: str, *, align: str) -> None:
        """Print an amount, smaller if it needs more room: its digits are never cut."""
        size_pt = self.font_size_pt
        room = width - 2 * self.c_margin
        self.set_font_size(min(size_pt, size_pt * room / (self.get_string_width(text) or room)))
        self._cell(width, height, text, align=align)
        self.set_font_size(size_pt)

    def _lines(self, width: float, height: float, text: str) -> None:
        """Print text on as many lines as it needs."""
        self.multi_cell(width, height, self._shown(text), align="L", new_x="LMARGIN", new_y="NEXT")

    def _cut(self, text: str, width: float) -> str:
        """Cut off what is too long for a width."""
        if self.get_string_width(text) <= width:
            return text
        fitting = bisect_right(
            range(len(text)), width, key=lambda end: self.get_string_width(text[:end] + _CUT)
        )
        return text[: fitting - 1] + _CUT

    def _shown(self, text: str) -> str:
        """Replace what the font lacks by a box."""
        if text.isascii():
            return text
        return "".join(one if ord(one) in self._known else _BOX for one in normalize("NFC", text))

    def _amount(self, amount_minor: int) -> str:
        return _grouped(amount_minor, self._statement.period.currency)


def _rows(statement: Statement, lines: Sequence[Record]) -> Iterator[_Row]:
    period, totals = statement.period, statement.totals
    ends = [
        _Row("", f"{what} balance", "", _grouped(amount_minor, period.currency), "B")
        for what, amount_minor in (
            ("Opening", totals.opening_balance_minor),
            ("Closing", totals.closing_balance_minor),
        )
    ]
    first, last = reversed(ends) if statement.newest_first else ends
    yield first
    for line in lines:
        external_id = line["external_id"]
        yield _Row(
            _minute(line[period.by]),
            line["event_type"] + (f"  {external_id}" if external_id else ""),
            _grouped(line["amount_minor"], period.currency),
            _grouped(int(line["balance_minor"]), period.currency),
        )
    if not lines:
        yield _Row("", "No entries in this period", "", "")
    yield last


def _grouped(amount_minor: int, currency: str) -> str:
    return f"{major_units(amount_minor, currency):,f}"


def _minute(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M}"


def _span(period: Period) -> str:
    """Say when the period begins and ends, in days where it has whole ones."""
    since = "the first entry" if period.since is None else _instant(period.since)
    if period.until is None:
        until = "the latest entry"
    elif _is_midnight(period.until):
        until = f"{period.until - timedelta(days=1):%Y-%m-%d}"
    else:
        until = f"before {_instant(period.until)}"
    return f"From {since} to {until} (UTC)"


def _instant(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d}" if _is_midnight(instant) else f"{instant:%Y-%m-%d %H:%M:%S.%f}"


def _is_midnight(instant: datetime) -> bool:
    return instant.time() == instant.time().min
