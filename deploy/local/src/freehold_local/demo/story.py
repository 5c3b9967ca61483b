"""The demo from beginning to end: start, provision, send, wait, show, prove."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from freehold.contracts.currency import major_units
from freehold.security.api_keys import parse_api_key
from freehold_client import AsyncFreehold, FreeholdError
from freehold_local.demo.checks import (
    AuditorLogin,
    Check,
    all_balances,
    auditor_logins,
    check_isolation,
    check_tenant,
    wait_until_projected,
)
from freehold_local.demo.sending import Tenant, send
from freehold_local.demo.traffic import SHOPS, make_traffic
from freehold_local.errors import StackError
from freehold_local.progress import Terminal
from freehold_local.stack import Stack

EVENTS_PER_TENANT = 7_000


def run(state: Path) -> int:
    """Run the demo on the stack in a folder; answer 0 only if every promise held."""
    out = Console()
    stack = Stack(state)
    with Terminal(out) as progress:
        stack.up(progress)
    try:
        checks, link = asyncio.run(_story(out, stack))
    except FreeholdError as error:
        raise StackError(str(error)) from error
    out.print(_promises(checks))
    held = all(check.held for check in checks)
    out.print(
        f"\n{len(checks)} of {len(checks)} promises held. The stack is still up; "
        "stop it, keeping its data, with: make down"
        if held
        else f"\n{sum(not check.held for check in checks)} promises were BROKEN.",
        style="bold" if held else "bold red",
    )
    out.print(f"\n{link}", markup=False, highlight=False, soft_wrap=True)
    return 0 if held else 1


def _promises(checks: list[Check]) -> Table:
    table = Table("", "promise", "how it was seen", title="Promises", title_justify="left")
    for check in checks:
        mark = "[green]held[/]" if check.held else "[bold red]BROKEN[/]"
        table.add_row(mark, check.promise, check.detail)
    return table


async def _story(out: Console, stack: Stack) -> tuple[list[Check], str]:
    """Tell the story; answer with what was checked, and where to look at it in a browser."""
    environment = stack.env()
    async with AsyncExitStack() as clients, AsyncFreehold.from_environment(environment) as operator:
        tenants = []
        async for tenant in _provision(operator, environment):
            await clients.enter_async_context(tenant.freehold)
            tenants.append(tenant)
        await _send_all(out, tenants)
        await _show_tenants(out, tenants)
        await _show_balances(out, tenants)
        logins = await auditor_logins(
            environment["FREEHOLD_CATALOG_DSN"], stack.credential_keys, tenants
        )
        _show_next_steps(out, environment, tenants[0])
        checks = await _check(tenants, logins)
        return checks, await _consoles(operator, environment, tenants[0], stack.env_file)


async def _provision(
    operator: AsyncFreehold, environment: Mapping[str, str]
) -> AsyncIterator[Tenant]:
    """Make the three tenants; a demo run before has left its own, so names are numbered."""
    number = await _next_number(operator)
    for shop in SHOPS:
        tenant_id = shop.slug if number == 1 else f"{shop.slug}-{number}"
        made = await operator.create_tenant(tenant_id=tenant_id, name=shop.name)
        if made.api_key is None:
            raise StackError(f"{tenant_id} was there already")
        freehold = AsyncFreehold.from_environment(
            {**environment, "FREEHOLD_API_KEY": made.api_key, "FREEHOLD_OPERATOR_TOKEN": ""}
        )
        traffic = make_traffic(shop, EVENTS_PER_TENANT)
        yield Tenant(shop, tenant_id, made.api_key, freehold, traffic)


async def _next_number(operator: AsyncFreehold) -> int:
    number = 1
    slugs = "|".join(re.escape(shop.slug) for shop in SHOPS)
    async for tenant in operator.list_tenants():
        match = re.fullmatch(rf"(?:{slugs})(?:-(\d+))?", tenant.tenant_id)
        if match:
            number = max(number, int(match[1] or 1) + 1)
    return number


async def _send_all(out: Console, tenants: list[Tenant]) -> None:
    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("events"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=out) as progress:

        async def send_one(tenant: Tenant) -> None:
            task = progress.add_task(tenant.tenant_id, total=tenant.traffic.events)
            await send(tenant, lambda events: progress.advance(task, events))

        await asyncio.gather(*(send_one(tenant) for tenant in tenants))


async def _show_tenants(out: Console, tenants: list[Tenant]) -> None:
    table = Table(title="Tenants", title_justify="left")
    for name in ("tenant", "events", "accounts", "events/s", "retries", "events behind"):
        table.add_column(name, justify="left" if name == "tenant" else "right")
    for tenant in tenants:
        lag = await wait_until_projected(tenant, timeout_s=60)
        accounts = {account for account, _ in tenant.traffic.balances}
        table.add_row(
            tenant.tenant_id,
            f"{lag.head_seq:,}",
            f"{len(accounts):,}",
            f"{tenant.traffic.events / tenant.seconds:,.0f}",
            f"{tenant.retries:,}",
            f"{lag.events_behind:,}",
        )
    out.print(table)


async def _show_balances(out: Console, tenants: list[Tenant]) -> None:
    table = Table("tenant", "account", title="Some balances", title_justify="left")
    table.add_column("balance", justify="right")
    for tenant in tenants:
        balances = await all_balances(tenant)
        for (account, currency), amount in list(balances.items())[:4]:
            table.add_row(
                tenant.tenant_id, account, f"{major_units(amount, currency):,f} {currency}"
            )
    out.print(table)


def _show_next_steps(out: Console, environment: dict[str, str], tenant: Tenant) -> None:
    body = json.dumps(
        {"account_id": "cus_42", "event_type": "CHARGE", "amount_minor": 2000, "currency": "USD"}
    )
    ingest, query = environment["FREEHOLD_INGEST_URL"], environment["FREEHOLD_QUERY_URL"]
    out.print(f"\nGo on as {tenant.tenant_id}:", style="bold")
    bearer = '-H "Authorization: Bearer $KEY"'
    sending = "-H 'Content-Type: application/json' -H 'Idempotency-Key: try-1'"
    for line in (
        f"KEY={tenant.api_key}",
        f"curl -s {ingest}/v1/events {bearer} {sending} -d '{body}'",
        f"curl -s {query}/v1/accounts/cus_42/balances {bearer}",
        f'curl -s "{query}/v1/events?limit=2" {bearer}',
    ):
        # Printed as it is, so that it can be copied whole.
        out.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    out.print()


async def _consoles(
    operator: AsyncFreehold, environment: Mapping[str, str], tenant: Tenant, env_file: Path
) -> str:
    key = parse_api_key(tenant.api_key)
    if key is None:
        raise StackError(f"the key of {tenant.tenant_id} is none")
    link = await operator.create_sign_in_link(tenant.tenant_id, key.key_id)
    return (
        f"Look at {tenant.tenant_id} in a browser (the link works once, for 15 minutes):\n"
        f"  {environment['FREEHOLD_QUERY_URL']}{link.path}\n"
        "Look at all tenants as their operator, with the token FREEHOLD_OPERATOR_TOKEN of"
        f" {env_file}:\n"
        f"  {environment['FREEHOLD_TENANT_MANAGER_URL']}/console"
    )


async def _check(tenants: list[Tenant], logins: dict[str, AuditorLogin]) -> list[Check]:
    checks = []
    for tenant in tenants:
        checks += await check_tenant(tenant, logins[tenant.tenant_id])
    for one, other in zip(tenants, [*tenants[1:], tenants[0]], strict=True):
        checks += await check_isolation(one, other, logins)
    return checks
