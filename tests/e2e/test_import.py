"""Importing a file of any length: each line for itself, safe to send again, with progress."""

import gzip
import json
import time
from collections.abc import AsyncIterator

import pytest
import zstandard

from support.answers import created, found, pointers, problem
from support.clients import Tenant, event_body
from support.documents import Document
from support.uploads import NDJSON, PATH, imported, line, lines, result, uploading
from support.waiting import eventually

LINE_BYTES_MAX = 65_536
CHUNK_LINES = 1_000
FLOOR = {"currency": "USD", "min_balance_minor": 0}


async def test_each_line_is_an_event_and_is_decided_for_itself(tenant: Tenant) -> None:
    await tenant.append(external_id="known")
    body = b"".join(
        [
            line(external_id="a", amount_minor=1),
            line(external_id="b", amount_minor=0),
            b"\n",
            line(external_id="known"),
            b"{not JSON\n",
            line(),
            line(external_id="a", amount_minor=5),
            line(external_id="c", amount_minor=10, metadata={"plan": "pro"}),
            line(external_id="d", currency="usd", colour="red"),
            line(external_id="e").replace(b"{", b'{"amount_minor": 1, ', 1),
        ]
    )
    last = await imported(tenant, body)
    rejected = {entry["line"]: entry for entry in last.pop("rejected")}
    assert last == {
        "done": True,
        "tenant_id": tenant.tenant_id,
        "lines": 10,
        "accepted": 2,
        "duplicates": 1,
        "conflicts": 1,
        "rejected_count": 6,
    }
    assert list(rejected) == [2, 5, 6, 7, 9, 10]
    assert [places(rejected[number]) for number in rejected] == [
        ["/amount_minor"],
        [""],
        ["/external_id"],
        ["/amount_minor"],
        ["/colour", "/currency"],
        ["/amount_minor"],
    ]
    assert rejected[5]["type"] == "/problems/malformed-json"
    assert rejected[2]["type"] == "/problems/validation-failed"
    await tenant.caught_up()
    assert await tenant.balances("cus_42") == {"USD": 2011}
    events = await tenant.all_events()
    assert [event.external_id for event in events] == ["known", "a", "c"]
    assert events[2].metadata == {"plan": "pro"}


async def test_events_stand_in_the_ledger_in_the_order_of_their_lines(tenant: Tenant) -> None:
    last = await imported(tenant, lines(1, 3 * CHUNK_LINES + 7))
    assert last["accepted"] == last["lines"] == 3 * CHUNK_LINES + 7
    events = await tenant.all_events()
    assert [event.external_id for event in events] == [
        f"ch_{number}" for number in range(1, 3 * CHUNK_LINES + 8)
    ]


async def test_the_same_file_again_appends_only_what_is_missing(tenant: Tenant) -> None:
    assert (await imported(tenant, lines(1, 50)))["accepted"] == 50
    again = await imported(tenant, lines(1, 50))
    assert (again["accepted"], again["duplicates"]) == (0, 50)
    longer = await imported(tenant, lines(1, 80))
    assert (longer["accepted"], longer["duplicates"]) == (30, 50)
    assert (await tenant.lag()).head_seq == 80


async def test_a_cut_connection_loses_nothing_that_was_accepted(tenant: Tenant) -> None:
    total = 5 * CHUNK_LINES
    async with uploading(tenant) as upload:
        await upload.send(lines(1, total - 1)[:-20])
        await upload.head()
        progress = await upload.line()
        upload.cut()
    last = await imported(tenant, lines(1, total))
    assert last["accepted"] + last["duplicates"] == total
    assert last["duplicates"] >= progress["accepted"]
    await tenant.caught_up()
    assert await tenant.all_balances() == {(f"cus_{n}", "USD"): total // 10 for n in range(10)}
    assert (await tenant.lag()).head_seq == total


async def test_a_line_cut_in_the_middle_is_no_line(tenant: Tenant) -> None:
    async with uploading(tenant) as upload:
        # The event is complete. Whether its line was complete is unknown.
        await upload.send(line(external_id="a") + line(external_id="b").rstrip())
        await upload.head()
        assert (await upload.line())["accepted"] == 1
        upload.cut()
    last = await imported(tenant, line(external_id="b"))
    assert last["accepted"] == 1


async def test_progress_is_reported_while_lines_still_arrive(tenant: Tenant) -> None:
    async with uploading(tenant) as upload:
        await upload.send(lines(1, 3))
        head = await upload.head()
        assert head.startswith("HTTP/1.1 200 ")
        assert "x-accel-buffering: no" in head.lower()
        assert "cache-control: no-store" in head.lower()

        async def reported(accepted: int) -> Document | None:
            progress = await upload.line()
            return progress if progress["accepted"] == accepted else None

        progress = await eventually(lambda: reported(3), "three lines are reported")
        assert progress == {
            "line": 3,
            "accepted": 3,
            "duplicates": 0,
            "conflicts": 0,
            "rejected_count": 0,
        }
        # Reported lines are in the ledger already, although the body has not ended.
        assert (await tenant.lag()).head_seq == 3
        await upload.send(lines(3, 5))
        await upload.end()
        last = await upload.last_line()
    assert (last["done"], last["accepted"], last["duplicates"]) == (True, 5, 1)


async def test_a_client_that_prefers_no_progress_gets_the_result_alone(tenant: Tenant) -> None:
    async with uploading(tenant, "Prefer: progress=none") as upload:
        for first in (1, 1_001):
            await upload.send(lines(first, first + 999))

            async def appended(last: int = first + 999) -> bool:
                return bool((await tenant.lag()).head_seq == last)

            await eventually(appended, "the lines are appended")
        await upload.end()
        assert "preference-applied: progress=none" in (await upload.head()).lower()
        only = await upload.line()
        assert (only["done"], only["accepted"]) == (True, 2_000)


async def test_a_client_may_send_all_of_it_before_it_reads(tenant: Tenant) -> None:
    async with uploading(tenant) as upload:
        for first in range(1, 60_000, CHUNK_LINES):
            await upload.send(lines(first, first + CHUNK_LINES - 1))
        await upload.end()
        await upload.head()
        last = await upload.last_line()
    assert (last["done"], last["lines"], last["accepted"]) == (True, 60_000, 60_000)


@pytest.mark.parametrize("size", [1, 7, 100])
async def test_lines_may_be_split_anywhere_on_their_way(tenant: Tenant, size: int) -> None:
    body = (
        b"\xef\xbb\xbf"
        + line(external_id="a").replace(b"\n", b"\r\n")
        + b"\r\n  \n"
        + line(external_id="\u00e9\U0001f600", metadata={"\u540d": "\u00e9"})
        + line(external_id="c").rstrip()
    )

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    headers = {"Authorization": f"Bearer {tenant.api_key}", **NDJSON}
    url = f"{tenant.freehold.addresses.ingest}/v1{PATH}"
    last = result(await tenant.freehold.send("POST", url, content=pieces(), headers=headers))
    assert (last["lines"], last["accepted"], last["rejected"]) == (5, 3, [])
    events = await tenant.all_events()
    assert [event.external_id for event in events] == ["a", "\u00e9\U0001f600", "c"]


async def test_a_line_too_long_is_rejected_and_the_others_are_not(tenant: Tenant) -> None:
    long = line(external_id="long", metadata={"k": "v" * LINE_BYTES_MAX})
    longer = b"x" * 5 * 2**20 + b"\n"
    # White space is part of a line: this one is as long as a line may be.
    longest = line(external_id="b").rstrip().ljust(LINE_BYTES_MAX) + b"\n"
    body = line(external_id="a") + long + longest + longer + line(external_id="c") + b"y" * 2**20
    last = await imported(tenant, body)
    assert (last["accepted"], last["lines"]) == (3, 6)
    assert [entry["line"] for entry in last["rejected"]] == [2, 4, 6]
    for entry in last["rejected"]:
        assert "at most 65536 bytes" in entry["errors"][0]["detail"]


async def test_a_hundred_rejected_lines_are_shown_and_all_are_counted(tenant: Tenant) -> None:
    body = (line(external_id="bad", amount_minor=0) + lines(1, 1)) * 1_200
    last = await imported(tenant, body)
    assert (last["accepted"], last["duplicates"], last["rejected_count"]) == (1, 1_199, 1_200)
    assert [entry["line"] for entry in last["rejected"]] == list(range(1, 200, 2))


async def test_of_one_line_no_more_than_ten_faults_are_listed(tenant: Tenant) -> None:
    body = line(external_id="a", **{f"colour_{number}": "red" for number in range(50)})
    assert len((await imported(tenant, body))["rejected"][0]["errors"]) == 10


async def test_the_same_facts_again_are_a_duplicate_and_others_a_conflict(tenant: Tenant) -> None:
    said: Document = {
        "external_id": "a",
        "transaction_time": "2026-03-01T12:00:00Z",
        "metadata": {"plan": "pro", "a/b": "c"},
    }
    first = await tenant.append(**said)
    same = [
        said,
        {**said, "transaction_time": "2026-03-01T13:00:00.000+01:00"},
        {**said, "transaction_time": None, "metadata": None},
        {**said, "metadata": {"a/b": "c"}},
    ]
    other: list[tuple[Document, list[str]]] = [
        ({"amount_minor": 7}, ["/amount_minor"]),
        ({"account_id": "cus_43"}, ["/account_id"]),
        ({"currency": "EUR", "event_type": "REFUND"}, ["/currency", "/event_type"]),
        ({"transaction_time": "2026-03-01T12:00:00.000001Z"}, ["/transaction_time"]),
        ({"metadata": {"plan": "free"}}, ["/metadata/plan"]),
        ({"metadata": {"plan": "pro", "new": "1"}}, ["/metadata/new"]),
        ({"metadata": {"a/b": "d"}}, ["/metadata/a~1b"]),
    ]
    bodies = [*same, *({**said, **change} for change, _ in other)]
    # Enough lines between them that the last ones are in a chunk of their own.
    far = line(external_id="b", amount_minor=1), lines(1, CHUNK_LINES), line(external_id="b")
    last = await imported(tenant, b"".join([*(line(**body) for body in bodies), *far]))
    conflicts = last["rejected"]
    assert (last["duplicates"], last["conflicts"], last["rejected_count"]) == (4, 8, 8)
    assert last["accepted"] == CHUNK_LINES + 1
    for number, (entry, (_, pointed)) in enumerate(zip(conflicts[:-1], other, strict=True), 5):
        assert (entry["line"], places(entry)) == (number, pointed)
        assert entry["type"] == "/problems/duplicate-external-id"
        assert entry["external_id"] == "a"
        assert entry["existing_event_id"] == first.event_id
        assert pointed[0].removeprefix("/").partition("/")[0] in entry["errors"][0]["detail"]
    assert (conflicts[-1]["external_id"], places(conflicts[-1])) == ("b", ["/amount_minor"])
    # A request has a key of its own: there it is a conflict either way, which says of which kind.
    for body, differs in ((said, []), ({**said, "amount_minor": 7}, ["amount_minor"])):
        conflict = problem(
            await tenant.post("/events", event_body(**body)), "duplicate-external-id"
        )
        assert (conflict["external_id"], conflict["differs"]) == ("a", differs)
        assert conflict["existing_event_id"] == first.event_id


@pytest.mark.parametrize("body", [b"\n", b"\xef\xbb\xbf", b"\r\n \n"])
async def test_a_body_without_an_event_is_no_success(refused_tenant: Tenant, body: bytes) -> None:
    last = await imported(refused_tenant, body)
    assert (last["done"], last["accepted"], last["rejected_count"]) == (False, 0, 0)
    assert last["error"]["type"] == "/problems/validation-failed"
    assert "no event" in last["error"]["detail"]
    answer = await refused_tenant.post(PATH, b"", key=None, headers=NDJSON)
    assert "no event" in problem(answer, "validation-failed")["detail"]


async def test_a_truncated_last_line_is_reported_and_earlier_lines_are_imported(
    tenant: Tenant,
) -> None:
    whole = lines(1, 3)
    for cut in range(1, 40):
        last = await imported(tenant, whole[: -1 - cut])
        assert (last["accepted"] + last["duplicates"], last["lines"]) == (2, 3)
        (entry,) = last["rejected"]
        assert (entry["line"], entry["type"]) == (3, "/problems/malformed-json")
        assert "cut off" in entry["errors"][0]["detail"]
    assert (await imported(tenant, whole[:-1]))["accepted"] == 1


async def test_bytes_that_are_no_text_are_rejected(tenant: Tenant) -> None:
    body = b'{"account_id": "\xff"}\n' + bytes(range(256)) + b"\n" + line(external_id="a")
    last = await imported(tenant, body)
    # There is one line feed among the 256 bytes.
    assert (last["accepted"], last["rejected_count"], last["lines"]) == (1, 3, 4)


async def test_external_ids_are_known_whichever_way_an_event_came_in(tenant: Tenant) -> None:
    await imported(tenant, line(external_id="a"))
    answer = await tenant.post("/events", json.loads(line(external_id="a")))
    problem(answer, "duplicate-external-id")


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {"Content-Type": "text/csv"},
        {"Content-Type": ""},
        {"Content-Type": "application/x-ndjson; charset=utf-16"},
        {**NDJSON, "Content-Encoding": "br"},
        {**NDJSON, "Content-Encoding": "gzip, gzip"},
    ],
)
async def test_a_body_of_another_kind_is_refused_before_it_is_read(
    refused_tenant: Tenant, headers: dict[str, str]
) -> None:
    answer = await refused_tenant.post(PATH, line(external_id="a"), key=None, headers=headers)
    problem(answer, "unsupported-media-type")
    assert (await refused_tenant.lag()).head_seq == 0


async def test_the_media_type_is_read_in_any_case_and_may_have_parameters(tenant: Tenant) -> None:
    headers = {"Content-Type": "Application/X-NDJSON; charset=utf-8"}
    answer = await tenant.post(PATH, line(external_id="a"), key=None, headers=headers)
    assert result(answer)["accepted"] == 1


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_a_file_may_be_packed(tenant: Tenant, coding: str) -> None:
    body = lines(1, 2 * CHUNK_LINES)
    packed = gzip.compress(body) if coding == "gzip" else zstandard.compress(body)
    headers = {**NDJSON, "Content-Encoding": coding}
    last = result(await tenant.post(PATH, packed, key=None, headers=headers))
    assert (last["done"], last["accepted"]) == (True, 2 * CHUNK_LINES)
    # One that is cut off, or is no such thing from the start, is no whole file.
    cut = result(await tenant.post(PATH, packed[:-10], key=None, headers=headers))
    assert (cut["done"], cut["error"]["type"]) == (False, "/problems/malformed-coding")
    problem(await tenant.post(PATH, body, key=None, headers=headers), "malformed-coding")
    assert (await tenant.lag()).head_seq == 2 * CHUNK_LINES


async def test_only_a_key_with_the_scope_may_import(refused_tenant: Tenant) -> None:
    for scope in ("read", "audit", "export"):
        other = await refused_tenant.limited_to(scope)
        answer = await other.post(PATH, line(external_id="a"), key=None, headers=NDJSON)
        problem(answer, "missing-scope")
    answer = await refused_tenant.bearing("nonsense").post(PATH, b"", key=None, headers=NDJSON)
    problem(answer, "unauthorized")
    answer = await refused_tenant.post(f"{PATH}?chunk=5", b"", key=None, headers=NDJSON)
    assert pointers(answer) == ["/chunk"]
    assert (await refused_tenant.lag()).head_seq == 0


async def test_an_import_ends_with_the_key_that_it_came_with(tenant: Tenant) -> None:
    keys = f"/tenants/{tenant.tenant_id}/api-keys"
    made = created(await tenant.freehold.manage("POST", keys, {"scopes": ["ingest"]}))
    async with uploading(tenant.bearing(made["api_key"])) as upload:
        await upload.send(lines(1, 2))
        await upload.head()
        await upload.line()
        answer = await tenant.freehold.manage("DELETE", f"{keys}/{made['key_id']}")
        assert answer.status_code == 204
        await tenant.bearing(made["api_key"]).shut_out()
        await upload.send(lines(3, 4))
        last = await upload.last_line()
    assert (last["done"], last["lines"], last["accepted"]) == (False, 2, 2)
    assert last["error"]["type"] == "/problems/unauthorized"
    assert (await tenant.lag()).head_seq == 2


async def test_one_tenant_cannot_use_all_import_slots(tenant: Tenant, other_tenant: Tenant) -> None:
    async with (
        uploading(tenant) as one,
        uploading(tenant) as two,
        uploading(tenant) as three,
        uploading(tenant) as four,
    ):
        for upload in (one, two, three, four):
            await upload.send(line(external_id="a"))
            await upload.head()
        answer = await tenant.post(PATH, b"", key=None, headers=NDJSON)
        problem(answer, "overloaded")
        assert answer.headers["retry-after"]
        assert (await imported(other_tenant, line(external_id="a")))["accepted"] == 1
        await one.end()
        assert (await one.last_line())["done"] is True
        assert (await imported(tenant, line(external_id="b")))["accepted"] == 1


async def test_what_the_ledger_refuses_is_rejected_for_the_same_reason_as_elsewhere(
    tenant: Tenant,
) -> None:
    found(await tenant.ask_ingest("PUT", "/event-types/CHARGE", {"sign": "any"}))
    found(await tenant.ask_ingest("PUT", "/event-types", {"closed": True}))
    found(await tenant.ask_ingest("PUT", "/accounts/cus_1/limits", FLOOR))
    body = line(external_id="a", event_type="REFUND") + line(
        external_id="b", account_id="cus_1", amount_minor=-1
    )
    last = await imported(tenant, body)
    assert (last["accepted"], last["duplicates"]) == (0, 0)
    assert [(entry["line"], entry["type"], places(entry)) for entry in last["rejected"]] == [
        (1, "/problems/validation-failed", ["/event_type"]),
        (2, "/problems/insufficient-funds", ["/amount_minor"]),
    ]


async def test_an_import_waits_where_it_is_over_its_tenants_share(tenant: Tenant) -> None:
    limits = {"events_per_s": 100}
    found(await tenant.freehold.manage("PUT", f"/tenants/{tenant.tenant_id}/limits", limits))
    started = time.monotonic()
    async with uploading(tenant) as upload:
        # Two seconds' worth is there, so this takes three seconds' worth that is not.
        await upload.send(lines(1, 500))
        await upload.head()
        while (await upload.line())["accepted"] < 500:
            pass
        await upload.send(lines(501, 510))
        await upload.end()
        last = await upload.last_line()
    assert (last["done"], last["accepted"]) == (True, 510)
    assert time.monotonic() - started > 2.9


async def test_the_documentation_shows_what_a_line_is_and_what_is_answered(tenant: Tenant) -> None:
    url = f"{tenant.freehold.addresses.ingest}/openapi.json"
    document = found(await tenant.freehold.ask("GET", url))
    described = document["paths"][f"/v1{PATH}"]["post"]
    body = described["requestBody"]["content"]["application/x-ndjson"]["schema"]
    assert body["contentSchema"]["items"] == {"$ref": "#/components/schemas/ImportLine"}
    assert list(described["responses"]["200"]["content"]) == ["application/x-ndjson"]
    schemas = document["components"]["schemas"]
    assert "external_id" in schemas["ImportLine"]["required"]
    assert {"ImportProgress", "ImportResult", "RejectedLine"} <= set(schemas)


def places(entry: Document) -> list[str]:
    return sorted(error["pointer"] for error in entry["errors"])
