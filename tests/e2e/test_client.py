"""The Python client against real services: each of its features as its users have them."""

import csv
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from freehold_client import (
    AsyncFreehold,
    DuplicateExternalId,
    Freehold,
    IdempotencyKeyInvalid,
    IdempotencyKeyReused,
    InsufficientFunds,
    NotFound,
    Unauthorized,
    ValidationFailed,
)
from support.clients import Tenant, tenant_body
from support.guides import followed
from support.live import until_balance
from support.stacks import Addresses

README = Path(__file__).parents[2] / "services/clients/python/README.md"


@pytest.fixture
def environment(addresses: Addresses, tenant: Tenant) -> dict[str, str]:
    """The variables of an operator who has a tenant's key, too."""
    return {
        **addresses.operator,
        "FREEHOLD_QUERY_URL": addresses.query,
        "FREEHOLD_API_KEY": tenant.api_key,
    }


@pytest.fixture
def client(environment: dict[str, str]) -> Iterator[Freehold]:
    with Freehold.from_environment(environment) as client:
        yield client


@pytest.fixture
async def awaited(environment: dict[str, str]) -> AsyncIterator[AsyncFreehold]:
    async with AsyncFreehold.from_environment(environment) as client:
        yield client


def test_events_go_in_and_come_out(client: Freehold) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    charge = client.append_event(
        account_id="cus_42",
        event_type="CHARGE",
        amount_minor=2000,
        currency="USD",
        transaction_time=yesterday,
        external_id="ch_1",
        metadata={"plan": "pro"},
    )
    reversal = client.reverse_event(charge.event_id, reason="a mistake")

    assert client.get_event(charge.event_id).reversed_by_event_id == reversal.event_id
    assert charge.transaction_time == yesterday
    assert reversal.reverses_event_id == charge.event_id
    assert list(client.list_events(account_id="cus_42")) == [charge, reversal]
    balance = client.get_balance("cus_42", "USD", consistency="strong")
    assert (balance.current_balance_minor, balance.event_count) == (0, 2)
    past = client.get_balances("cus_42", as_of=yesterday)
    assert [each.current_balance_minor for each in past.balances] == [2000]


def test_transactions_holds_and_batches(client: Freehold) -> None:
    legs = [("cus_42", -300), ("platform:fees", 300)]
    moved = client.append_transaction(
        legs=[
            {"account_id": account, "event_type": "FEE", "amount_minor": amount, "currency": "EUR"}
            for account, amount in legs
        ]
    )
    assert client.get_transaction(moved.transaction_id).events == moved.events
    client.reverse_transaction(moved.transaction_id)

    hold = client.place_hold(account_id="cus_42", currency="EUR", amount_minor=100)
    assert client.capture_hold(hold.hold_id, amount_minor=40).captured_minor == 40
    assert client.get_hold(hold.hold_id).status == "captured"

    short = client.append_batch(
        events=[{"account_id": "a", "event_type": "B", "amount_minor": 10**18, "currency": "JPY"}],
        prefer="return=minimal",
    )
    assert (short.last_seq, short.events) == (7, None)


def test_lists_are_read_page_by_page(client: Freehold, tenant: Tenant) -> None:
    client.append_batch(
        events=[
            {
                "account_id": f"cus_{number}",
                "event_type": "CHARGE",
                "amount_minor": number,
                "currency": "USD",
                "metadata": {"order_id": f"o{number}"},
            }
            for number in range(1, 8)
        ]
    )
    client.set_searchable_metadata(keys=["order_id"])

    events = list(client.list_events(order="desc", page_size=3))
    assert [event.amount_minor for event in events] == [7, 6, 5, 4, 3, 2, 1]
    (found,) = client.list_events(metadata={"order_id": "o5"})
    assert found.amount_minor == 5
    client.append_event(account_id="cus_1", event_type="CHARGE", amount_minor=9, currency="USD")
    statement = client.get_statement("cus_1", currency="USD", page_size=1)
    assert [line.balance_minor for line in statement.data] == [1, 10]
    assert (statement.closing_balance_minor, statement.next_cursor) == (10, None)


def test_problems_are_exceptions(client: Freehold) -> None:
    def charge(amount_minor: int, external_id: str | None = None, key: str | None = None) -> None:
        client.append_event(
            account_id="cus_42",
            event_type="CHARGE",
            amount_minor=amount_minor,
            currency="USD",
            external_id=external_id,
            idempotency_key=key,
        )

    charge(1, "ch_1", "k1")
    charge(1, "ch_1", "k1")
    (event,) = client.list_events()
    client.set_account_limit("cus_42", currency="USD", min_balance_minor=0)

    with pytest.raises(DuplicateExternalId) as duplicate:
        charge(1, "ch_1")
    assert duplicate.value.document["existing_event_id"] == event.event_id
    with pytest.raises(IdempotencyKeyReused):
        charge(2, key="k1")
    with pytest.raises(InsufficientFunds) as insufficient:
        charge(-2)
    assert insufficient.value.request_id
    assert insufficient.value.errors[0].pointer
    with pytest.raises(ValidationFailed):
        charge(0)
    with pytest.raises(IdempotencyKeyInvalid):
        charge(1, key="not é")
    with pytest.raises(NotFound):
        client.get_event("019ca9a8-5a00-7000-8000-0007c0a8d5e1")


def test_no_proxy_stands_before_this_machine(
    client: Freehold, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    assert client.get_lag().events_behind == 0


async def test_a_stream_gives_what_is_and_what_changes(awaited: AsyncFreehold) -> None:
    async def append(amount_minor: int) -> None:
        await awaited.append_event(
            account_id="cus_42", event_type="CHARGE", amount_minor=amount_minor, currency="USD"
        )

    await append(2000)
    async with aclosing(awaited.stream_balances(account_prefix="cus_", snapshot=True)) as changes:
        await until_balance(changes, 2000)
        await append(500)
        position = await until_balance(changes, 2500)

    await append(1)
    series = awaited.stream_balances(account_prefix="cus_", last_event_id=position)
    async with aclosing(series) as changes:
        await until_balance(changes, 2501)


async def test_a_stream_ends_with_its_key(
    awaited: AsyncFreehold, environment: dict[str, str], tenant: Tenant
) -> None:
    key = await awaited.create_api_key(tenant.tenant_id, scopes=["read"], label="a page")
    async with AsyncFreehold.from_environment(
        {**environment, "FREEHOLD_API_KEY": key.api_key}
    ) as reader:
        await awaited.append_event(
            account_id="cus_42", event_type="CHARGE", amount_minor=1, currency="USD"
        )
        async with aclosing(reader.stream_balances(snapshot=True)) as changes:
            await anext(changes)
            await awaited.revoke_api_key(tenant.tenant_id, key.key_id)
            with pytest.raises(Unauthorized):
                async for _ in changes:
                    pass


async def test_imports_append_what_is_missing(awaited: AsyncFreehold) -> None:
    lines = [
        b'{"account_id": "cus_%d", "event_type": "CHARGE", "amount_minor": %d, "currency": "USD",'
        b' "external_id": "ch_%d"}\n' % (number, number % 10, number)
        for number in range(1, 31)
    ]

    first = await awaited.import_events(lines)
    again = await awaited.import_events(lines)

    assert (first.lines, first.accepted, first.rejected_count) == (30, 27, 3)
    assert [line.line for line in first.rejected] == [10, 20, 30]
    assert (again.accepted, again.duplicates) == (0, 27)


async def test_files(awaited: AsyncFreehold, tmp_path: Path) -> None:
    await awaited.append_event(
        account_id="cus_42", event_type="CHARGE", amount_minor=2000, currency="USD"
    )

    await awaited.save_statement(tmp_path / "s.csv", "cus_42", currency="USD")
    await awaited.save_statement(tmp_path / "s.pdf", "cus_42", currency="USD", file_format="pdf")
    size = await awaited.export_own_ledger(tmp_path / "ledger.sql")

    (line,) = csv.DictReader((tmp_path / "s.csv").read_text().splitlines())
    assert line["balance"] == "20.00"
    assert (tmp_path / "s.pdf").read_bytes().startswith(b"%PDF")
    ledger = (tmp_path / "ledger.sql").read_text()
    assert len(ledger.encode()) == size
    assert "cus_42" in ledger


async def test_the_operators_calls(awaited: AsyncFreehold, tmp_path: Path) -> None:
    wanted = tenant_body()
    made = await awaited.create_tenant(tenant_id=wanted["tenant_id"], name=wanted["name"])
    tenant_id = made.tenant.tenant_id

    assert made.api_key is not None
    assert tenant_id in [each.tenant_id async for each in awaited.list_tenants(page_size=2)]
    backup = await awaited.wait_for_operation(await awaited.create_backup(tenant_id))
    assert backup.status == "succeeded"
    assert [each.tenant_id async for each in awaited.list_backups(tenant_id)] == [tenant_id]
    assert await awaited.export_ledger(tmp_path / "t.dump", tenant_id, file_format="custom")
    assert (await awaited.suspend_tenant(tenant_id)).status == "suspended"
    assert (await awaited.resume_tenant(tenant_id)).status == "active"


async def test_the_readme(environment: dict[str, str], tmp_path: Path) -> None:
    async with followed(README.read_text(), tmp_path, environment):
        pass
