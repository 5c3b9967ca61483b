"""A table for a person that is printed page by page, however long it is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from freehold_cli.output import out, shown, write_message
from freehold_cli.service import Document


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, how its values are found, and whether they are numbers."""

    name: str
    value: Callable[[Document], object]
    is_number: bool = False


class PagedTable:
    """Prints rows in aligned columns. The first page decides how wide the columns are."""

    def __init__(self, *columns: Column) -> None:
        self._columns = columns
        self._widths: list[int] = []

    def write(self, entries: Sequence[Document]) -> None:
        """Print a page of entries."""
        rows = [[shown(column.value(entry)) for column in self._columns] for entry in entries]
        if rows and not self._widths:
            rows.insert(0, [column.name for column in self._columns])
            self._widths = [
                max(cell_len(row[index]) for row in rows) for index in range(len(self._columns))
            ]
        out.file.writelines(self._line(row) for row in rows)
        out.file.flush()

    def end(self) -> None:
        """Say so if there was nothing."""
        if not self._widths:
            write_message("There are none.")

    def _line(self, cells: Sequence[str]) -> str:
        padded = []
        for column, width, cell in zip(self._columns, self._widths, cells, strict=True):
            space = " " * (width - cell_len(cell))
            padded.append(space + cell if column.is_number else cell + space)
        return "  ".join(padded).rstrip() + "\n"
