"""``freehold events``, ``balances`` and ``statement``, for the tenant and for the operator."""

import asyncio
import csv
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from support.answers import created, found
from support.clients import Tenant, event_body
from support.commands import freehold, started
from support.documents import Document
from support.waiting import eventually

FEBRUARY, MARCH, APRIL = (f"2026-0{month}-01T00:00:00Z" for month in (2, 3, 4))


@pytest.fixture
def customer(tenant: Tenant) -> dict[str, str]:
    """The environment of a tenant, who has no more than a key."""
    return {
        "FREEHOLD_QUERY_URL": tenant.freehold.addresses.query,
        "FREEHOLD_API_KEY": tenant.api_key,
    }


async def appended(tenant: Tenant, **changes: Any) -> Document:
    return created(await tenant.post("/events", event_body(**changes)))


@pytest.fixture
async def events(tenant: Tenant) -> list[Document]:
    """Three events in two months, of two accounts and two currencies."""
    return [
        await appended(
            tenant,
            account_id="cus_1",
            amount_minor=123_456,
            external_id="ch_1",
            transaction_time="2026-02-10T10:00:00Z",
        ),
        await appended(
            tenant,
            account_id="cus_1",
            event_type="REFUND",
            amount_minor=-456,
            external_id="re_1",
            transaction_time="2026-03-10T10:00:00Z",
        ),
        await appended(
            tenant,
            account_id="cus_2",
            amount_minor=70,
            currency="JPY",
            external_id="ch_2",
            transaction_time="2026-03-11T10:00:00Z",
        ),
    ]


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


async def test_events_are_listed_for_people(
    events: list[Document], customer: dict[str, str]
) -> None:
    ended = await freehold("events", environment=customer)
    assert ended.code == 0, ended.err
    ids = [event["event_id"] for event in events]
    assert rows(ended.out)[1:] == [
        ["1", "2026-02-10T10:00:00Z", "cus_1", "CHARGE", "1,234.56", "USD", "ch_1", ids[0]],
        ["2", "2026-03-10T10:00:00Z", "cus_1", "REFUND", "-4.56", "USD", "re_1", ids[1]],
        ["3", "2026-03-11T10:00:00Z", "cus_2", "CHARGE", "70", "JPY", "ch_2", ids[2]],
    ]
    # Amounts end in one column.
    ends = {
        line.index(amount) + len(amount)
        for line, amount in zip(
            ended.out.splitlines()[1:], ["1,234.56", "-4.56", " 70"], strict=True
        )
    }
    assert len(ends) == 1


async def test_events_are_chosen(events: list[Document], customer: dict[str, str]) -> None:
    for options, seqs in (
        (["--account", "cus_1"], [1, 2]),
        (["--type", "REFUND"], [2]),
        (["--currency", "JPY"], [3]),
        (["--external-id", "ch_2"], [3]),
        (["--from", MARCH], [2, 3]),
        (["--from", FEBRUARY, "--to", MARCH], [1]),
        (["--newest-first", "-n", "2"], [3, 2]),
        (["--account", "cus_9"], []),
    ):
        ended = await freehold("events", *options, "--json", environment=customer)
        assert ended.code == 0, ended.err
        lines = [json.loads(line) for line in ended.out.splitlines()]
        assert [line["seq"] for line in lines] == seqs, options
        assert all(line == events[line["seq"] - 1] for line in lines)
    none = await freehold("events", "--account", "cus_9", environment=customer)
    assert (none.code, none.out, none.err) == (0, "", "There are none.\n")


async def test_a_list_goes_on_over_pages(tenant: Tenant, customer: dict[str, str]) -> None:
    await tenant.append_batch(
        [
            {"account_id": f"cus_{n}", "event_type": "CHARGE", "amount_minor": n, "currency": "USD"}
            for n in range(1, 2_502)
        ]
    )
    await tenant.caught_up()
    listed = await freehold("events", environment=customer)
    assert [row[0] for row in rows(listed.out)[1:]] == [str(seq) for seq in range(1, 2_502)]
    some = await freehold("events", "-n", "1001", "--json", environment=customer)
    assert [json.loads(line)["seq"] for line in some.out.splitlines()] == list(range(1, 1_002))
    balances = await freehold("balances", "--json", environment=customer)
    assert len({json.loads(line)["account_id"] for line in balances.out.splitlines()}) == 2_501


async def test_new_events_are_followed(
    tenant: Tenant, events: list[Document], customer: dict[str, str]
) -> None:
    process = started(
        "events", "--follow", "--json", "--account", "cus_1", "-n", "4", environment=customer
    )
    ended = asyncio.ensure_future(process.communicate())
    for amount in (1, 2):
        await tenant.append(account_id="cus_1", amount_minor=amount)
    lines = [json.loads(line) for line in (await ended).out.splitlines()]
    assert [line["amount_minor"] for line in lines] == [123_456, -456, 1, 2]


async def test_following_ends_when_it_is_interrupted(
    tenant: Tenant, events: list[Document], operator: dict[str, str]
) -> None:
    words = ("events", "--follow", "--tenant", tenant.tenant_id)
    process = started(*words, environment=operator)

    async def lent() -> list[Document]:
        path = f"/tenants/{tenant.tenant_id}/api-keys"
        keys = found(await tenant.freehold.manage("GET", path))["data"]
        return [key for key in keys if key["label"]]

    (key,) = await eventually(lent, "a key is lent")
    assert key["scopes"] == ["read"]
    process.send_signal(signal.SIGINT)
    ended = await process.communicate()
    assert ended.code == 130
    assert "Traceback" not in ended.err
    (key,) = await lent()
    assert key["revoked_at"] is not None


async def test_balances_are_shown_for_people(
    tenant: Tenant, events: list[Document], customer: dict[str, str]
) -> None:
    await tenant.caught_up()
    one = await freehold("balances", "cus_1", environment=customer)
    assert one.code == 0, one.err
    header, row = rows(one.out)
    assert header == ["account", "currency", "balance", "held", "available", "events", "updated"]
    assert row[:6] == ["cus_1", "USD", "1,230.00", "0.00", "1,230.00", "2"]
    strong = await freehold("balances", "cus_1", "--strong", environment=customer)
    assert strong.out == one.out
    then = await freehold("balances", "cus_1", "--as-of", MARCH, environment=customer)
    assert rows(then.out)[1][2:6] == ["1,234.56", "-", "-", "1"]
    before = await freehold("balances", "cus_1", "--known-at", FEBRUARY, environment=customer)
    assert rows(before.out)[1][2] == "0.00"
    every = await freehold("balances", environment=customer)
    assert [row[:3] for row in rows(every.out)[1:]] == [
        ["cus_1", "USD", "1,230.00"],
        ["cus_2", "JPY", "70"],
    ]
    some = await freehold(
        "balances", "--prefix", "cus_2", "--currency", "JPY", environment=customer
    )
    assert len(rows(some.out)) == 2
    totals = await freehold("balances", "--totals", environment=customer)
    assert rows(totals.out)[1:] == [["JPY", "70", "1", "1"], ["USD", "1,230.00", "1", "2"]]


async def test_balances_for_scripts_are_as_the_api_answers_them(
    tenant: Tenant, events: list[Document], customer: dict[str, str]
) -> None:
    await tenant.caught_up()
    for words, path in ((["cus_1"], "/accounts/cus_1/balances"), (["--totals"], "/totals")):
        ended = await freehold("balances", *words, "--json", environment=customer)
        assert json.loads(ended.out) == found(await tenant.get(path))
    listed = await freehold("balances", "--json", environment=customer)
    lines = [json.loads(line) for line in listed.out.splitlines()]
    assert lines == found(await tenant.get("/balances"))["data"]


async def test_a_balance_beyond_64_bits_is_exact(tenant: Tenant, customer: dict[str, str]) -> None:
    most = 2**63 - 1
    for _ in range(2):
        await tenant.append(account_id="cus_1", amount_minor=most)
    await tenant.caught_up()
    shown = await freehold("balances", environment=customer)
    assert rows(shown.out)[1][2] == f"{2 * most // 100:,}.{2 * most % 100:02}"
    for words in (["balances", "cus_1"], ["statement", "cus_1", "USD"]):
        ended = await freehold(*words, "--json", environment=customer)
        assert ended.code == 0, ended.err
        assert str(2 * most) in ended.out


async def test_a_statement_is_shown_for_people(
    events: list[Document], customer: dict[str, str]
) -> None:
    words = ("statement", "cus_1", "USD", "--from", MARCH, "--to", APRIL)
    ended = await freehold(*words, environment=customer)
    assert ended.code == 0, ended.err
    shown = rows(ended.out)
    for fact in (
        ["account", "cus_1"],
        ["period", "2026-03-01T00:00:00Z", "to", "2026-04-01T00:00:00Z"],
        ["opening", "1,234.56", "USD"],
        ["in", "0.00", "USD"],
        ["out", "4.56", "USD"],
        ["closing", "1,230.00", "USD"],
        ["time", "type", "external", "id", "amount", "balance", "event", "id"],
        ["2026-03-10T10:00:00Z", "REFUND", "re_1", "-4.56", "1,230.00", events[1]["event_id"]],
    ):
        assert fact in shown
    empty = await freehold(*words[:3], "--to", FEBRUARY, environment=customer)
    assert (empty.code, empty.err) == (0, "There are none.\n")
    assert ["closing", "0.00", "USD"] in rows(empty.out)
    newest = await freehold(*words[:3], "--newest-first", environment=customer)
    assert [row[1] for row in rows(newest.out)[-2:]] == ["REFUND", "CHARGE"]


async def test_a_statement_of_many_pages_is_one_document(
    tenant: Tenant, customer: dict[str, str]
) -> None:
    event = {"account_id": "cus_1", "event_type": "CHARGE", "amount_minor": 1, "currency": "USD"}
    await tenant.append_batch([event] * 1_500)
    ended = await freehold("statement", "cus_1", "USD", "--json", environment=customer)
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    path = "/accounts/cus_1/statement"
    first = found(await tenant.get(path, currency="USD", limit=1_000))
    rest = found(await tenant.get(path, currency="USD", cursor=first["next_cursor"], limit=1_000))
    assert document.pop("data") == first["data"] + rest["data"]
    page = found(await tenant.get(path, currency="USD", limit=1))
    assert document == {name: page[name] for name in page if name not in {"data", "next_cursor"}}


async def test_a_statement_is_written_as_a_file(
    events: list[Document], customer: dict[str, str], tmp_path: Path
) -> None:
    words = ["statement", "cus_1", "USD", "--format"]
    printed = await freehold(*words, "csv", environment=customer)
    assert printed.code == 0, printed.err
    assert [line["amount"] for line in csv.DictReader(printed.out.splitlines())] == [
        "1234.56",
        "-4.56",
    ]
    file = tmp_path / "march.pdf"
    written = await freehold(*words, "pdf", "-o", file, environment=customer)
    assert (written.code, written.out) == (0, ""), written.err
    assert file.read_bytes().startswith(b"%PDF")
    again = await freehold(*words, "pdf", "-o", file, environment=customer)
    assert again.code == 2
    assert "--overwrite" in again.err
    gone = await freehold(
        "statement",
        "cus_9",
        "USD",
        "--format",
        "csv",
        "-o",
        tmp_path / "a.csv",
        environment=customer,
    )
    assert gone.code == 3
    assert files_in(tmp_path) == [file]


async def test_the_operator_reads_a_tenant_who_is_named(
    tenant: Tenant, events: list[Document], operator: dict[str, str]
) -> None:
    named = ["--tenant", tenant.tenant_id]
    for words in (["events"], ["balances", "--totals"], ["statement", "cus_1", "USD"]):
        ended = await freehold(*words, *named, environment=operator)
        assert ended.code == 0, ended.err
        assert ended.out
    path = f"/tenants/{tenant.tenant_id}/api-keys"
    keys = found(await tenant.freehold.manage("GET", path))["data"]
    lent = [key for key in keys if key["label"]]
    assert len(lent) == 3
    assert all(key["revoked_at"] for key in lent)
    assert {tuple(key["scopes"]) for key in lent} == {("read",)}


async def test_what_is_called_wrongly_ends_with_two(
    customer: dict[str, str], operator: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(customer["FREEHOLD_API_KEY"])
    wrong: list[tuple[list[str], dict[str, str]]] = [
        (["events", "--follow", "--newest-first"], customer),
        (["events", "--from", "2026-03-01"], customer),
        (["events"], operator),
        (["events", "--tenant", "acme", "--api-key-file", str(tmp_path / "key")], operator),
        (["balances", "cus_1", "--totals"], customer),
        (["balances", "--strong"], customer),
        (["statement", "cus_1"], customer),
        (["statement", "cus_1", "USD", "-o", "a.txt"], customer),
        (["statement", "cus_1", "USD", "--format", "csv", "--json"], customer),
    ]
    for words, environment in wrong:
        ended = await freehold(*words, environment=environment, folder=tmp_path)
        assert ended.code == 2, (words, ended)
        assert "Traceback" not in ended.err


async def test_a_refusal_is_reported_with_what_to_do(
    tenant: Tenant, customer: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "key").write_text((await tenant.limited_to("ingest")).api_key)
    for words, environment, said in (
        (["balances", "cus_1"], customer, "no such balance"),
        (["balances", "--currency", "usd"], customer, "currency"),
        (["events", "--api-key-file", str(tmp_path / "key")], customer, "the scope read"),
        (["events"], {**customer, "FREEHOLD_API_KEY": "nonsense"}, "FREEHOLD_API_KEY"),
        (
            ["events"],
            {**customer, "FREEHOLD_QUERY_URL": "http://127.0.0.1:1"},
            "FREEHOLD_QUERY_URL",
        ),
    ):
        ended = await freehold(*words, "--json", environment=environment)
        assert ended.code == 3, (words, ended)
        assert said in ended.err
        assert said in json.loads(ended.out)["error"]
        assert customer["FREEHOLD_API_KEY"] not in ended.out + ended.err


async def test_status_finds_every_service_of_the_stack(operator: dict[str, str]) -> None:
    ended = await freehold("status", "--json", environment=operator)
    # Other tests may have left a failed operation.
    assert ended.code in {0, 1}, ended.err
    state = json.loads(ended.out)
    asked = [each for each in state["services"] if each["url"] is not None]
    assert {"tenant-manager", "ingest", "query"} <= {each["service"] for each in asked}
    assert all(each["ready"] for each in asked)
    assert state["installation"]["overview"]["tenants"]["active"] >= 0
    assert state["ok"] == (ended.code == 0)
