"""``freehold balances``: what accounts have, now or at a point in time, or all together."""

from typing import Annotated

import typer

from freehold_cli.connection import reading
from freehold_cli.money import shown_amount
from freehold_cli.options import ApiKeyFile, AsJson, OfTenant, parsed_times
from freehold_cli.output import shown_time, write_json, write_json_line
from freehold_cli.paged_table import Column, PagedTable
from freehold_cli.service import Document, Parameters


def balances(
    account: Annotated[str | None, typer.Argument(help="One account.")] = None,
    prefix: Annotated[
        str | None, typer.Option(help="Only accounts whose id begins so, such as cus_.")
    ] = None,
    currency: Annotated[str | None, typer.Option(help="Only balances in this currency.")] = None,
    totals: Annotated[
        bool, typer.Option("--totals", help="The sum of the balances in each currency.")
    ] = False,
    as_of: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only events that happened by then (transaction_time)."),
    ] = None,
    known_at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only events that the ledger had by then (recorded_at)."),
    ] = None,
    strong: Annotated[
        bool, typer.Option("--strong", help="With every event committed by now. For one account.")
    ] = False,
    tenant: OfTenant = None,
    api_key_file: ApiKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show balances: of one account, of all accounts, or of those with a prefix.

    Amounts are in major units. With --json a list has a line for each balance, as the API answers
    it; an account and totals are one document.

    Examples:
        freehold balances cus_42
        freehold balances --prefix cus_ --currency USD
        freehold balances cus_42 --as-of 2026-03-31T23:59:59Z
        freehold balances --totals --known-at 2026-04-01T00:00:00Z --tenant acme
    """
    if account is not None and (prefix is not None or totals or currency is not None):
        raise typer.BadParameter("an account goes with none of --prefix, --currency and --totals")
    if account is None and strong:
        raise typer.BadParameter("--strong needs an account")
    asked: Parameters = {
        "account_prefix": prefix,
        "currency": currency,
        "consistency": "strong" if strong else None,
        **parsed_times(as_of=as_of, known_at=known_at),
    }
    with reading(tenant, api_key_file, as_json=as_json) as query:
        if account is not None:
            found = query.get("accounts", account, "balances", params=asked)
            rows = [{"account_id": account, **balance} for balance in found["balances"]]
            _write(found, rows, _balance_table(), as_json=as_json)
        elif totals:
            found = query.get("totals", params=asked)
            _write(found, found["data"], _total_table(), as_json=as_json)
        else:
            table = _balance_table()
            for page in query.pages("balances", params=asked):
                if as_json:
                    for balance in page["data"]:
                        write_json_line(balance)
                else:
                    table.write(page["data"])
            if not as_json:
                table.end()


def _write(found: Document, rows: list[Document], table: PagedTable, *, as_json: bool) -> None:
    if as_json:
        write_json(found)
        return
    table.write(rows)
    table.end()


def _balance_table() -> PagedTable:
    return PagedTable(
        Column("account", lambda balance: balance["account_id"]),
        Column("currency", lambda balance: balance["currency"]),
        _amounts("balance", "current_balance_minor"),
        _amounts("held", "held_minor"),
        _amounts("available", "available_minor"),
        Column("events", lambda balance: balance["event_count"], is_number=True),
        Column("updated", lambda balance: shown_time(balance["last_updated_time"])),
    )


def _total_table() -> PagedTable:
    return PagedTable(
        Column("currency", lambda total: total["currency"]),
        _amounts("balance", "balance_minor"),
        Column("accounts", lambda total: total["account_count"], is_number=True),
        Column("events", lambda total: total["event_count"], is_number=True),
    )


def _amounts(name: str, field: str) -> Column:
    """Make a column of amounts. A balance at a point in time does not say what was held."""
    return Column(
        name,
        lambda balance: shown_amount(balance.get(field), balance["currency"], balance["exponent"]),
        is_number=True,
    )
