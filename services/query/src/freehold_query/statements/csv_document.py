"""A statement as CSV: a row for each line, with the balance after it."""

from freehold.contracts.currency import major_units
from freehold_query.csv_rows import AFTER_AMOUNTS, BEFORE_AMOUNTS, METADATA, Columns

STATEMENT_COLUMNS: Columns = {
    **BEFORE_AMOUNTS,
    "balance_minor": lambda line: int(line["balance_minor"]),
    "balance": lambda line: major_units(int(line["balance_minor"]), line["currency"]),
    **AFTER_AMOUNTS,
    **METADATA,
}
