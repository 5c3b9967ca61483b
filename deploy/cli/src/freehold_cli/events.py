"""``freehold events``: a tenant's ledger, event by event."""

import time
from collections.abc import Iterator
from typing import Annotated

import typer

from freehold_cli.connection import reading
from freehold_cli.money import shown_amount
from freehold_cli.options import ApiKeyFile, AsJson, OfTenant, Since, Until, parsed_times
from freehold_cli.output import shown_time, write_json_line
from freehold_cli.paged_table import Column, PagedTable
from freehold_cli.service import PAGE_ENTRIES, Document, Parameters, Service

_POLL_S = 1.0


def events(
    account: Annotated[str | None, typer.Option(help="Only events of this account.")] = None,
    event_type: Annotated[
        str | None, typer.Option("--type", help="Only events of this type, such as CHARGE.")
    ] = None,
    currency: Annotated[str | None, typer.Option(help="Only events in this currency.")] = None,
    external_id: Annotated[
        str | None, typer.Option(help="The event with this external id.")
    ] = None,
    since: Since = None,
    until: Until = None,
    newest_first: Annotated[
        bool, typer.Option("--newest-first", help="List the newest event first.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="How many at most.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new events, until interrupted.")
    ] = False,
    tenant: OfTenant = None,
    api_key_file: ApiKeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List a tenant's events in the order of the ledger.

    Times are transaction times in UTC, amounts are in major units. With --json each line is an
    event as the API answers it.

    Examples:
        freehold events --account cus_42
        freehold events --type REFUND --from 2026-03-01T00:00:00Z --to 2026-04-01T00:00:00Z
        freehold events --newest-first -n 20 --tenant acme
        freehold events --follow --json | jq .amount_minor
    """
    if follow and newest_first:
        raise typer.BadParameter("--follow goes with the order of the ledger")
    asked: Parameters = {
        "account_id": account,
        "event_type": event_type,
        "currency": currency,
        "external_id": external_id,
        "order": "desc" if newest_first else None,
        "limit": PAGE_ENTRIES if limit is None else min(limit, PAGE_ENTRIES),
        **parsed_times(**{"from": since, "to": until}),
    }
    table = PagedTable(
        Column("seq", lambda event: str(event["seq"]), is_number=True),
        Column("time", lambda event: shown_time(event["transaction_time"])),
        Column("account", lambda event: event["account_id"]),
        Column("type", lambda event: event["event_type"]),
        Column("amount", _amount, is_number=True),
        Column("currency", lambda event: event["currency"]),
        Column("external id", lambda event: event["external_id"]),
        Column("event id", lambda event: event["event_id"]),
    )
    with reading(tenant, api_key_file, as_json=as_json) as query:
        for page in _pages(query, asked, limit, follow=follow):
            if as_json:
                for event in page:
                    write_json_line(event)
            else:
                table.write(page)
    if not as_json:
        table.end()


def _pages(
    query: Service, asked: Parameters, limit: int | None, *, follow: bool
) -> Iterator[list[Document]]:
    """Give the events page by page, at most so many; with `follow` those to come as well."""
    given, last_seq, cursor = 0, 0, None
    while True:
        for page in query.pages("events", params={**asked, "cursor": cursor}):
            found = page["data"]
            if follow:
                found = [event for event in found if event["seq"] > last_seq]
            found = found if limit is None else found[: limit - given]
            if found:
                given, last_seq = given + len(found), found[-1]["seq"]
                yield found
            if given == limit:
                return
            # The last page, asked for again, has what was appended meanwhile.
            cursor = page["next_cursor"] or cursor
        if not follow:
            return
        time.sleep(_POLL_S)


def _amount(event: Document) -> str | None:
    return shown_amount(event["amount_minor"], event["currency"])
