"""Statements as clients get them: pages of JSON, and whole ones as CSV and PDF."""

import asyncio
import csv
import re
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from io import BytesIO, StringIO
from typing import Any

import httpx
import pypdf
import pytest

from freehold.ledger.append import Capture
from freehold_query.statements import files, printer
from freehold_query.statements.contracts import StatementPage
from freehold_query.statements.statement import Statement
from integration.query.conftest import serve
from integration.query.tenants import Landlord, Tenant, bearer, read_token
from support.answers import NOT_UNDONE, pointers
from support.builders import new_event, new_hold
from support.waiting import PATIENCE_S

MARCH = datetime(2026, 3, 1, tzinfo=UTC)
APRIL = datetime(2026, 4, 1, tzinfo=UTC)
DAY = timedelta(days=1)
PATH = "/v1/accounts/cus_42/statement"
OF_MARCH = {"currency": "USD", "from": MARCH.isoformat(), "to": APRIL.isoformat()}
CSV, PDF = {"Accept": "text/csv"}, {"Accept": "application/pdf"}


async def fill(tenant: Tenant) -> None:
    """Events before, in and after March, in no order of time; and a hold, part of it captured."""
    await tenant.append(
        new_event("cus_42", 500, transaction_time=APRIL),
        new_event("cus_42", 250, transaction_time=MARCH + 2 * DAY, external_id="ch_1"),
        new_event("cus_42", -75, transaction_time=MARCH, external_id="=2+3", event_type="FEE"),
        new_event("cus_42", 1000, transaction_time=MARCH - DAY, metadata={"plan": 'a "b", c'}),
        new_event("cus_42", 3, currency="JPY"),
        new_event("cus_42", 1, currency="KWD", transaction_time=MARCH),
        new_event("cus_42", -1_234_567, currency="KWD", transaction_time=MARCH + DAY),
        new_event("cus_43", 9),
    )
    (placed,) = await tenant.append(new_hold("cus_42", 40))
    await tenant.append(Capture(placed["hold_id"], 30))


@pytest.fixture(scope="module")
async def filled(still_query: httpx.AsyncClient, still_tenant: Tenant) -> httpx.AsyncClient:
    await fill(still_tenant)
    return still_query


async def pages(query: httpx.AsyncClient, **params: Any) -> AsyncIterator[dict[str, Any]]:
    while True:
        answer = await query.get(PATH, params=params)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        StatementPage.model_validate(page)
        yield page
        if page["next_cursor"] is None:
            return
        params["cursor"] = page["next_cursor"]


async def lines(query: httpx.AsyncClient, **params: Any) -> list[tuple[int, int]]:
    """The amount of each line, and the balance after it."""
    return [
        (line["amount_minor"], line["balance_minor"])
        async for page in pages(query, **params)
        for line in page["data"]
    ]


async def table(query: httpx.AsyncClient, **params: Any) -> list[dict[str, str]]:
    answer = await query.get(PATH, params=params, headers=CSV)
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(StringIO(answer.text, newline="")))


def slug(answer: httpx.Response) -> str:
    """The problem that was answered."""
    return str(answer.json()["type"]).removeprefix("/problems/")


def text_of(pdf: bytes) -> list[str]:
    """The text on each page."""
    return [page.extract_text() for page in pypdf.PdfReader(BytesIO(pdf)).pages]


async def test_a_statement_says_what_moved_the_balance_in_a_period(
    filled: httpx.AsyncClient,
) -> None:
    page = (await filled.get(PATH, params=OF_MARCH)).json()
    first, second = page.pop("data")
    assert page == {
        "account_id": "cus_42",
        "currency": "USD",
        "exponent": 2,
        "from": "2026-03-01T00:00:00.000000Z",
        "to": "2026-04-01T00:00:00.000000Z",
        "by": "transaction_time",
        "opening_balance_minor": 1000,
        "closing_balance_minor": 1175,
        "total_in_minor": 250,
        "total_out_minor": 75,
        "next_cursor": None,
    }
    assert (first["amount_minor"], first["balance_minor"]) == (-75, 925)
    assert (second["amount_minor"], second["balance_minor"]) == (250, 1175)
    event = (await filled.get(f"/v1/events/{second['event_id']}")).json()
    assert {**second, **NOT_UNDONE} == {**event, "balance_minor": 1175}


async def test_without_bounds_every_line_is_there_and_a_hold_only_where_it_is_captured(
    filled: httpx.AsyncClient,
) -> None:
    wanted = [(1000, 1000), (-75, 925), (250, 1175), (500, 1675), (-30, 1645)]
    for limit in (1, 2, 5, 100):
        assert await lines(filled, currency="USD", limit=limit) == wanted
        assert await lines(filled, currency="USD", limit=limit, order="desc") == wanted[::-1]


async def test_by_the_time_of_recording_the_order_is_that_of_the_ledger(
    filled: httpx.AsyncClient,
) -> None:
    wanted = [(500, 500), (250, 750), (-75, 675), (1000, 1675), (-30, 1645)]
    recorded = {"currency": "USD", "by": "recorded_at"}
    assert await lines(filled, **recorded, limit=2) == wanted
    assert await lines(filled, **recorded, limit=2, order="desc") == wanted[::-1]
    assert await lines(filled, **recorded, to=MARCH.isoformat()) == []


async def test_balances_and_totals_are_of_the_whole_statement_on_every_page(
    filled: httpx.AsyncClient,
) -> None:
    found = [page async for page in pages(filled, **OF_MARCH, limit=1)]
    assert len(found) == 2
    for page in found:
        del page["data"], page["next_cursor"]
    assert found[0] == found[1]


async def test_times_may_have_any_offset(filled: httpx.AsyncClient) -> None:
    for since in ("2026-03-01T04:00:00+04:00", "2026-02-28T12:30:00-11:30"):
        assert await lines(filled, **OF_MARCH | {"from": since}) == [(-75, 925), (250, 1175)]
    later = OF_MARCH | {"from": "2026-03-01T04:00:00.000001+04:00"}
    assert await lines(filled, **later) == [(250, 1175)]
    # As many clients send it: a plus that is not escaped.
    answer = await filled.get(f"{PATH}?currency=USD&from=2026-03-01T04:00:00+04:00")
    assert answer.json()["from"] == "2026-03-01T00:00:00.000000Z"


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_are_of_the_state_at_the_first_one(
    query: httpx.AsyncClient, tenant: Tenant, order: str
) -> None:
    await fill(tenant)
    wanted = await lines(query, currency="USD", order=order)
    found = []
    async for page in pages(query, currency="USD", order=order, limit=1):
        found += [(line["amount_minor"], line["balance_minor"]) for line in page["data"]]
        assert page["closing_balance_minor"] == 1645
        await tenant.append(
            new_event("cus_42", 7, transaction_time=MARCH - 9 * DAY),
            new_event("cus_42", 7, transaction_time=MARCH + DAY),
            new_event("cus_42", 7),
        )
    assert found == wanted
    assert len(await lines(query, currency="USD")) == 5 + 5 * 3


@pytest.mark.parametrize(
    ("path", "currency"),
    [
        ("/v1/accounts/cus_44/statement", "USD"),
        ("/v1/accounts/cus_42/statement", "EUR"),
        ("/v1/accounts/cus_43/statement", "JPY"),
        ("/v1/accounts/-/statement", "USD"),
    ],
)
@pytest.mark.parametrize("headers", [{}, CSV, PDF])
async def test_what_was_never_seen_is_not_found(
    filled: httpx.AsyncClient, path: str, currency: str, headers: dict[str, str]
) -> None:
    answer = await filled.get(path, params={"currency": currency}, headers=headers)
    assert answer.status_code == 404
    assert answer.json()["detail"] == "the account has no event in this currency"


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ["/currency"]),
        ({"currency": "usd"}, ["/currency"]),
        ({"from": "2026-03-01"}, ["/from"]),
        ({"from": "yesterday", "to": "2026-03-01T12:00:00"}, ["/from", "/to"]),
        ({"from": APRIL.isoformat(), "to": MARCH.isoformat()}, [""]),
        ({"by": "seq"}, ["/by"]),
        ({"order": "ASC"}, ["/order"]),
        ({"limit": "0"}, ["/limit"]),
        ({"limit": "1001"}, ["/limit"]),
        ({"cursor": "nonsense"}, ["/cursor"]),
        ({"since": MARCH.isoformat()}, ["/since"]),
        ({"as_of": MARCH.isoformat()}, ["/as_of"]),
    ],
)
async def test_a_parameter_that_breaks_its_rule_is_refused(
    filled: httpx.AsyncClient, params: dict[str, str], expected: list[str]
) -> None:
    wanted = {"currency": "USD", **params} if params else {}
    answer = await filled.get(PATH, params=wanted)
    assert pointers(answer) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"currency": "KWD"},
        {"from": MARCH.isoformat()},
        {"to": APRIL.isoformat()},
        {"by": "recorded_at"},
        {"order": "desc"},
    ],
)
async def test_a_cursor_is_good_for_its_statement_only(
    filled: httpx.AsyncClient, change: dict[str, str]
) -> None:
    params = {"currency": "USD", "limit": "1"}
    cursor = (await filled.get(PATH, params=params)).json()["next_cursor"]
    answer = await filled.get(PATH, params={**params, **change, "cursor": cursor})
    assert pointers(answer) == ["/cursor"]
    assert (await filled.get(PATH, params={**params, "cursor": cursor})).status_code == 200


async def test_a_read_token_has_the_statements_of_its_accounts(filled: httpx.AsyncClient) -> None:
    token = await read_token(filled, account_prefix="cus_42")
    for headers in ({}, CSV, PDF):
        for account, status in (("cus_42", 200), ("cus_43", 404)):
            path = f"/v1/accounts/{account}/statement"
            answer = await filled.get(path, params={"currency": "USD"}, headers=token | headers)
            assert answer.status_code == status


@pytest.mark.parametrize("accept", ["text/html", "image/*;q=0.5", "text/csv;q=0"])
async def test_a_form_that_is_not_there_is_not_acceptable(
    filled: httpx.AsyncClient, accept: str
) -> None:
    answer = await filled.get(PATH, params=OF_MARCH, headers={"Accept": accept})
    assert (answer.status_code, slug(answer)) == (406, "not-acceptable")
    assert "application/pdf" in answer.json()["detail"]


async def test_the_form_is_the_one_that_the_client_likes_best(filled: httpx.AsyncClient) -> None:
    for accept, media_type in (
        ("*/*", "application/json"),
        ("text/csv;q=0.5, application/pdf", "application/pdf"),
        ("application/json;q=0.1, text/*;q=0.2", "text/csv; charset=utf-8"),
    ):
        answer = await filled.get(PATH, params=OF_MARCH, headers={"Accept": accept})
        assert answer.headers["content-type"] == media_type
        assert "Accept" in answer.headers["vary"].split(", ")


@pytest.mark.parametrize("headers", [CSV, PDF])
async def test_a_whole_statement_has_no_pages(
    filled: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    params = {**OF_MARCH, "limit": "1", "cursor": "x"}
    answer = await filled.get(PATH, params=params, headers=headers)
    assert pointers(answer) == ["/cursor", "/limit"]


async def test_csv_has_every_line_with_amounts_in_both_units(
    filled: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = await table(filled, currency="USD")
    assert [(row["amount"], row["balance"]) for row in whole] == [
        ("10.00", "10.00"),
        ("-0.75", "9.25"),
        ("2.50", "11.75"),
        ("5.00", "16.75"),
        ("-0.30", "16.45"),
    ]
    assert whole[0]["metadata"] == '{"plan": "a \\"b\\", c"}'
    assert [
        (row["amount_minor"], row["amount"]) for row in await table(filled, currency="KWD")
    ] == [("1", "0.001"), ("-1234567", "-1234.567")]
    assert [row["balance"] for row in await table(filled, currency="JPY")] == ["3"]
    for row in whole:
        event = (await filled.get(f"/v1/events/{row['event_id']}")).json()
        for name in ("account_id", "transaction_time", "recorded_at", "event_type", "currency"):
            assert row[name] == event[name]
    # However many pages it is read in.
    monkeypatch.setattr(files, "CSV_PAGE_LINES", 1)
    assert await table(filled, currency="USD") == whole
    assert await table(filled, currency="USD", order="desc") == whole[::-1]


async def test_csv_is_a_file_of_rfc_4180(filled: httpx.AsyncClient) -> None:
    answer = await filled.get(PATH, params=OF_MARCH, headers=CSV)
    name = "statement_cus_42_USD_from-2026-03-01_to-2026-04-01.csv"
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    head, *rows, end = answer.text.split("\r\n")
    assert head.startswith("seq,event_id,account_id,transaction_time,")
    assert (len(rows), end) == (2, "")
    # An external id that a spreadsheet would take for a formula.
    assert ",'=2+3," in rows[0]


async def test_csv_is_packed_for_who_takes_it(filled: httpx.AsyncClient) -> None:
    params = {"currency": "USD"}
    answers = [
        await filled.get(PATH, params=params, headers={**CSV, "Accept-Encoding": coding})
        for coding in ("identity", "gzip")
    ]
    assert [answer.headers.get("content-encoding") for answer in answers] == [None, "gzip"]
    assert answers[0].content == answers[1].content


@pytest.mark.parametrize("headers", [CSV, PDF])
async def test_a_whole_statement_is_sent_again_only_after_a_change(
    query: httpx.AsyncClient, tenant: Tenant, headers: dict[str, str]
) -> None:
    await tenant.append(new_event("cus_42"))
    params = {"currency": "USD"}
    first = await query.get(PATH, params=params, headers=headers)
    known = {**headers, "If-None-Match": first.headers["etag"]}
    again = await query.get(PATH, params=params, headers=known)
    assert (again.status_code, again.content) == (304, b"")
    for other in (known | {"Accept": "application/json"}, known | (CSV if headers == PDF else PDF)):
        assert (await query.get(PATH, params=params, headers=other)).status_code == 200
    assert (await query.get(PATH, params=params | {"order": "desc"}, headers=known)).is_success
    await tenant.append(new_event("cus_42"))
    assert (await query.get(PATH, params=params, headers=known)).status_code == 200


async def test_csv_of_an_empty_period_has_a_header_alone(filled: httpx.AsyncClient) -> None:
    answer = await filled.get(
        PATH, params={"currency": "USD", "to": "1999-01-01T00:00:00Z"}, headers=CSV
    )
    assert answer.text.count("\r\n") == 1


async def test_a_pdf_has_the_statement_in_major_units(
    filled: httpx.AsyncClient, still_tenant: Tenant
) -> None:
    answer = await filled.get(PATH, params=OF_MARCH, headers=PDF)
    name = "statement_cus_42_USD_from-2026-03-01_to-2026-04-01.pdf"
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    (text,) = text_of(answer.content)
    for part in (
        still_tenant.name,
        "Account cus_42",
        "Currency USD",
        "From 2026-03-01 to 2026-03-31 (UTC)",
        "Opening balance 10.00",
        "2026-03-01 00:00 FEE  =2+3 -0.75 9.25",
        "2026-03-03 00:00 CHARGE  ch_1 2.50 11.75",
        "Closing balance 11.75",
        "Page 1 of 1",
    ):
        assert part in text
    assert re.search(
        r"Printed \d{4}-\d\d-\d\d \d\d:\d\d UTC, of the ledger through event 10 ", text
    )


@pytest.mark.parametrize(
    ("currency", "parts"),
    [("KWD", ["0.001", "-1,234.567", "-1,234.566"]), ("JPY", ["Closing balance 3\n"])],
)
async def test_a_pdf_has_the_decimals_of_its_currency(
    filled: httpx.AsyncClient, currency: str, parts: list[str]
) -> None:
    answer = await filled.get(PATH, params={"currency": currency}, headers=PDF)
    (text,) = text_of(answer.content)
    for part in parts:
        assert part in text


async def test_a_pdf_of_many_lines_has_numbered_pages(
    query: httpx.AsyncClient, tenant: Tenant
) -> None:
    await tenant.append(*[new_event("cus_42", number) for number in range(1, 101)])
    answer = await query.get(PATH, params={"currency": "USD"}, headers=PDF)
    texts = text_of(answer.content)
    for number, text in enumerate(texts, start=1):
        assert f"Page {number} of {len(texts)}" in text
        assert "Date (UTC)" in text
    rows = [line for text in texts for line in text.splitlines() if " CHARGE " in line]
    assert [row.split()[-1] for row in rows] == [
        f"{number * (number + 1) / 200:.2f}" for number in range(1, 101)
    ]


async def test_a_pdf_of_an_empty_period_says_so(filled: httpx.AsyncClient) -> None:
    params = {"currency": "USD", "to": "1999-01-01T00:00:00Z"}
    answer = await filled.get(PATH, params=params, headers=PDF)
    (text,) = text_of(answer.content)
    assert "No entries in this period" in text


async def test_a_pdf_of_too_many_lines_is_refused(
    filled: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(printer, "PDF_LINES_MAX", 5)
    assert (await filled.get(PATH, params={"currency": "USD"}, headers=PDF)).status_code == 200
    monkeypatch.setattr(printer, "PDF_LINES_MAX", 4)
    answer = await filled.get(PATH, params={"currency": "USD"}, headers=PDF)
    assert (answer.status_code, slug(answer)) == (422, "statement-too-long")
    assert "CSV" in answer.json()["detail"]


async def test_one_pdf_is_printed_at_a_time_and_none_is_waited_for_without_end(
    landlord: Landlord, still_tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_end = threading.Event()

    def slow(*_: Any) -> bytes:
        may_end.wait(PATIENCE_S)
        return b"%PDF-"

    monkeypatch.setattr(printer, "pdf_document", slow)
    choices = {"request_timeout_s": 2, "database_timeout_s": 1.5}
    await still_tenant.append(new_event("slow"))
    async with serve(landlord.dsn(), still_tenant, **choices) as query:
        path = "/v1/accounts/slow/statement"
        answer = await query.get(path, params={"currency": "USD"}, headers=PDF)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        # Others go on meanwhile.
        assert (await query.get(path, params={"currency": "USD"})).status_code == 200
        may_end.set()


async def test_a_tenant_who_prints_much_does_not_keep_others_waiting(
    still_query: httpx.AsyncClient,
    still_tenant: Tenant,
    other_tenant: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    printed: list[str] = []
    begun, may_go_on = threading.Event(), threading.Event()

    def slow(statement: Statement, *_: Any) -> bytes:
        begun.set()
        may_go_on.wait(PATIENCE_S)
        printed.append(statement.home.tenant_id)
        return b"%PDF-"

    monkeypatch.setattr(printer, "pdf_document", slow)
    for tenant in (still_tenant, other_tenant):
        await tenant.append(new_event("busy"))

    async def ask(tenant: Tenant) -> None:
        answer = await still_query.get(
            "/v1/accounts/busy/statement",
            params={"currency": "USD"},
            headers={**PDF, **bearer(tenant.key)},
        )
        assert answer.status_code == 200, answer.text

    async with asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(ask(still_tenant))
        await asyncio.to_thread(begun.wait, PATIENCE_S)
        group.create_task(ask(other_tenant))
        # All of them wait by then, but for the one that is being printed.
        await asyncio.sleep(1)
        may_go_on.set()
    assert printed.index(other_tenant.tenant_id) <= 2
