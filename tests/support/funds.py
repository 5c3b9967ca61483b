"""What an account has and may use, and the rules a tenant sets through ingest."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from support.answers import created, found
from support.clients import Tenant, event_body
from support.documents import Document

ACCOUNT = "cus_42"


class Funds(NamedTuple):
    """The balance of an account in one currency."""

    posted: int
    held: int
    available: int


async def funds(tenant: Tenant, account_id: str = ACCOUNT, currency: str = "USD") -> Funds:
    """An account's funds, with every event committed so far."""
    balance = await tenant.client.get_balance(account_id, currency, consistency="strong")
    assert balance.held_minor is not None
    assert balance.available_minor is not None
    return Funds(balance.current_balance_minor, balance.held_minor, balance.available_minor)


async def limit(
    tenant: Tenant, least: int | None, account_id: str = ACCOUNT, currency: str = "USD"
) -> Document:
    """Have an account limited, and give its limits."""
    body = {"currency": currency, "min_balance_minor": least}
    return found(await tenant.ask_ingest("PUT", f"/accounts/{account_id}/limits", body))


async def endow(tenant: Tenant, amount_minor: int, **limits: int) -> None:
    """Have money put on the account, and a limit set on it: zero, but for what is said."""
    await tenant.append(amount_minor=amount_minor)
    await limit(tenant, limits.get("least", 0))


def leg(account_id: str, amount_minor: int, **changes: Any) -> Document:
    """A leg of a transaction."""
    return event_body(
        account_id=account_id, event_type="TRANSFER", amount_minor=amount_minor, **changes
    )


async def transfer(tenant: Tenant, *legs: Document, **more: Any) -> Document:
    """Have a balanced transaction appended, and give it."""
    return created(await tenant.post("/transactions", {"legs": list(legs), **more}))


def hold_body(**changes: Any) -> Document:
    """A hold that could be placed, but for the changes."""
    return {"account_id": ACCOUNT, "currency": "USD", "amount_minor": 30, **changes}


async def hold(tenant: Tenant, **changes: Any) -> Document:
    """Have a hold placed, and give it."""
    return created(await tenant.post("/holds", hold_body(**changes)))


def from_now(**distance: float) -> str:
    """A time ahead, or behind, as RFC 3339 has it."""
    return f"{datetime.now(UTC) + timedelta(**distance):%Y-%m-%dT%H:%M:%S.%fZ}"
