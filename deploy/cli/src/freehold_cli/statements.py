"""``freehold statement``: what moved an account's balance in a period."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from freehold_cli.connection import reading
from freehold_cli.errors import CliError, ExitCode
from freehold_cli.files import STDOUT, writing
from freehold_cli.money import shown_amount
from freehold_cli.options import ApiKeyFile, AsJson, OfTenant, Since, Until, parsed_times
from freehold_cli.output import out, shown_time, to_json, write_facts
from freehold_cli.paged_table import Column, PagedTable
from freehold_cli.service import Document


class Format(StrEnum):
    """How a statement is written."""

    TABLE = "table"
    CSV = "csv"
    PDF = "pdf"


class By(StrEnum):
    """Which time a period and the order of its lines are about."""

    TRANSACTION_TIME = "transaction_time"
    RECORDED_AT = "recorded_at"


class Order(StrEnum):
    """The order of lines."""

    ASC = "asc"
    DESC = "desc"


def statement(
    account: Annotated[str, typer.Argument(help="The account.")],
    currency: Annotated[str, typer.Argument(help="The currency, such as USD.")],
    since: Since = None,
    until: Until = None,
    by: Annotated[By, typer.Option(help="Which time the period is about.")] = By.TRANSACTION_TIME,
    newest_first: Annotated[
        bool, typer.Option("--newest-first", help="List the newest line first.")
    ] = False,
    written_as: Annotated[
        Format, typer.Option("--format", help="A table to read, or a whole CSV or PDF file.")
    ] = Format.TABLE,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The CSV or PDF file; - is standard output.")
    ] = STDOUT,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that exists.")
    ] = False,
    tenant: OfTenant = None,
    api_key_file: ApiKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show an account's statement: opening balance, a line for each event, closing balance.

    Times are in UTC, amounts in major units. All lines are of one state of the ledger. A PDF has
    at most 5,000 lines. With --json it is one document, as the API answers it, with all lines.

    Examples:
        freehold statement cus_42 USD --from 2026-03-01T00:00:00Z --to 2026-04-01T00:00:00Z
        freehold statement cus_42 USD --format csv > march.csv
        freehold statement cus_42 USD --format pdf -o march.pdf --tenant acme
    """
    if as_json and written_as is not Format.TABLE:
        raise typer.BadParameter("--json goes without --format")
    if written_as is Format.TABLE and output != STDOUT:
        raise typer.BadParameter("--output goes with --format csv or pdf")
    if written_as is Format.PDF and output == STDOUT and out.is_terminal:
        raise CliError("A PDF is not for a terminal: add -o FILE.", ExitCode.USAGE)
    period = parsed_times(since=since, until=until)
    order = Order.DESC if newest_first else Order.ASC
    with reading(tenant, api_key_file, as_json=as_json) as query:
        if written_as is not Format.TABLE:
            with writing(output, overwrite=overwrite) as stream, query.failures():
                query.freehold.save_statement(
                    stream,
                    account,
                    currency=currency,
                    file_format="pdf" if written_as is Format.PDF else "csv",
                    from_=period["since"],
                    to=period["until"],
                    by=by.value,
                    order=order.value,
                )
            return
        asked = {"from": period["since"], "to": period["until"], "by": by, "order": order}
        pages = query.pages(
            "accounts", account, "statement", params={"currency": currency, **asked}
        )
        if as_json:
            _write_json(pages)
        else:
            _write_table(pages)


def _write_json(pages: Iterator[Document]) -> None:
    """Write all pages as one document, each as it comes."""
    separator = ""
    for page in pages:
        if not separator:
            heading = {name: page[name] for name in page if name not in {"data", "next_cursor"}}
            out.file.write(to_json(heading).removesuffix("}") + ', "data": [')
        for line in page["data"]:
            out.file.write(separator + to_json(line))
            separator = ",\n"
        separator = separator or "\n"
    out.file.write("]}\n")
    out.file.flush()


def _write_table(pages: Iterator[Document]) -> None:
    table: PagedTable | None = None
    for page in pages:
        if table is None:
            _write_heading(page)
            table = _lines(page["currency"], page["exponent"], page["by"])
        table.write(page["data"])
    if table is not None:
        table.end()


def _write_heading(page: Document) -> None:
    currency, exponent = page["currency"], page["exponent"]
    amounts = {
        "opening": "opening_balance_minor",
        "in": "total_in_minor",
        "out": "total_out_minor",
        "closing": "closing_balance_minor",
    }
    written = {
        name: shown_amount(page[field], currency, exponent) for name, field in amounts.items()
    }
    width = max(len(amount or "") for amount in written.values())
    since, until = shown_time(page["from"]), shown_time(page["to"])
    write_facts(
        {
            "account": page["account_id"],
            "period": f"{since or 'from the beginning'} to {until or 'the end'}",
            **{name: f"{amount or '':>{width}} {currency}" for name, amount in written.items()},
        }
    )
    out.file.write("\n")


def _lines(currency: str, exponent: int, by: str) -> PagedTable:
    return PagedTable(
        Column("time", lambda line: shown_time(line[by])),
        Column("type", lambda line: line["event_type"]),
        Column("external id", lambda line: line["external_id"]),
        Column(
            "amount",
            lambda line: shown_amount(line["amount_minor"], currency, exponent),
            is_number=True,
        ),
        Column(
            "balance",
            lambda line: shown_amount(line["balance_minor"], currency, exponent),
            is_number=True,
        ),
        Column("event id", lambda line: line["event_id"]),
    )
