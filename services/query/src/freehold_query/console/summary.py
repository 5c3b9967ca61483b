"""What stands above the list of balances: totals of the accounts, and how far they are behind."""

from typing import Any

from fastapi import APIRouter, Request, Response

from freehold.contracts.currency import MINOR_UNIT_EXPONENTS
from freehold.contracts.fields import AccountPrefix
from freehold.http.parameters import read_query
from freehold.ledger import client as ledger
from freehold.ledger import points_in_time
from freehold.ledger.client import Connection, Lag
from freehold.ledger.points_in_time import NOW, Moment
from freehold.security.api_keys import Scope
from freehold_query.console.console import Console, page_router
from freehold_query.console.parameters import MomentParameters

_PATH = "/console/summary"


class SummaryParameters(MomentParameters):
    """Which accounts, when, and what is shown of them already."""

    account_prefix: AccountPrefix = ""
    seen: str = ""
    """The state of the summary that is shown."""


def summary_routes(console: Console) -> APIRouter:
    """Make the route of the summary, which a page asks for again and again."""
    router = page_router()

    @router.get("/summary")
    async def summary(request: Request) -> Response:
        reader = await console.reader(request, Scope.READ)
        query = read_query(SummaryParameters, request)
        async with console.reads.connection(reader.home, "console_summary") as connection:
            if query.seen and query.seen == _state(await ledger.projection_lag(connection)):
                return Response(status_code=204)
            found = await read_summary(connection, query.account_prefix, query.moment)
        return console.answer(request, "_summary.html", **found)

    return router


async def read_summary(
    connection: Connection, account_prefix: str, moment: Moment
) -> dict[str, Any]:
    """Read what a summary shows. One of the present names where it asks for the next one."""
    # The lag first: a change between the two reads is then seen by the next one.
    lag = await ledger.projection_lag(connection)
    totals = await points_in_time.totals(
        connection, moment, account_prefix=account_prefix, currency=None
    )
    following = SummaryParameters(account_prefix=account_prefix, seen=_state(lag))
    return {
        "totals": [{**row, "exponent": MINOR_UNIT_EXPONENTS[row["currency"]]} for row in totals],
        "lag": lag,
        "summary_address": following.address(_PATH) if moment == NOW else None,
    }


def summary_address(account_prefix: str, moment: Moment) -> str:
    """Give the address of a summary at a point in time."""
    asked = SummaryParameters(
        account_prefix=account_prefix, as_of=moment.as_of, known_at=moment.known_at
    )
    return asked.address(_PATH)


def _state(lag: Lag) -> str:
    """Name the state that a summary is of: it changes with the ledger and with the projection."""
    return f"{lag.epoch}.{lag.head_seq}.{lag.projected_seq}"
