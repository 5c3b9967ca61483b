"""``freehold import``, as a process: what it sends, what it says, and how it ends."""

import gzip
import json
import signal
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from freehold_cli.errors import CliError
from freehold_cli.imports.event_file import EventFile, Format
from support.answers import found
from support.clients import Tenant
from support.commands import freehold, started
from support.documents import Document
from support.uploads import line, lines
from support.waiting import eventually

BATCH_LINES = 20_000


@pytest.fixture
def customer(tenant: Tenant) -> dict[str, str]:
    """The environment of a tenant, who has no more than a key."""
    at = tenant.freehold.addresses
    return {"FREEHOLD_INGEST_URL": at.ingest, "FREEHOLD_API_KEY": tenant.api_key}


async def test_ndjson_is_imported_with_a_temporary_key(
    tenant: Tenant, operator: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(lines(1, 3) + b"\n" + line(amount_minor=0) + b"nonsense\n" + lines(3, 4))
    ended = await freehold("import", file, "--tenant", tenant.tenant_id, environment=operator)
    assert ended.code == 1, ended.err
    assert f"4 events imported into {tenant.tenant_id}" in ended.out
    assert "1 were there already, 2 lines rejected" in ended.out
    rows = [row.strip().split(maxsplit=2) for row in ended.out.splitlines()[-3:]]
    assert rows[0][:2] == ["5", "amount_minor"]
    assert rows[1][:3] == ["5", "external_id", "external_id is missing"]
    assert rows[2][:2] == ["6", "this"]
    assert (await tenant.lag()).head_seq == 4
    keys = found(await tenant.freehold.manage("GET", f"/tenants/{tenant.tenant_id}/api-keys"))
    (lent,) = [key for key in keys["data"] if key["expires_at"] is not None]
    assert lent["scopes"] == ["ingest"]
    assert lent["revoked_at"] is not None
    file.write_bytes(lines(1, 4))
    again = await freehold("import", file, "--tenant", tenant.tenant_id, environment=operator)
    assert again.code == 0, again.err
    assert "0 events imported" in again.out
    assert "4 were there already" in again.out


async def test_csv_is_imported_by_the_names_of_its_columns(
    tenant: Tenant, customer: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "events.CSV"
    required = "external_id,account_id,event_type,amount_minor,currency"
    rows = [
        f"{required},transaction_time,metadata.plan,metadata.re\u00e7u",
        'a,cus_1,CHARGE,2000,USD,2026-03-01T12:00:00Z,"pro, yearly",n\u00b0 1',
        "",
        "b,cus_1,REFUND,-500,USD,,,",
        "c,cus_1,CHARGE,12.50,USD,,,",
        "d,cus_1,CHARGE,99999999999999999999,USD,,,",
        "e,cus_1,CHARGE,1,USD",
        'f,cus_1,CHARGE,1,USD,,"pro,',
        "g,cus_1,CHARGE,7,usd,,,",
        "h,cus_1,CHARGE,+7,USD,,,",
        "a,cus_1,CHARGE,2000,USD,,,",
        "b,cus_1,REFUND,-400,USD,,,",
    ]
    file.write_bytes("\r\n".join(rows).encode("utf-8-sig"))
    ended = await freehold("import", file, "--json", environment=customer)
    assert ended.code == 1, ended.err
    summary = json.loads(ended.out)
    assert summary.pop("seconds") > 0
    rejected = {entry["line"]: entry["errors"][0] for entry in summary.pop("rejected")}
    assert summary == {
        "done": True,
        "dry_run": False,
        "tenant_id": tenant.tenant_id,
        "events": 10,
        "accepted": 2,
        "duplicates": 1,
        "conflicts": 1,
        "rejected_count": 7,
    }
    assert {number: error["pointer"] for number, error in rejected.items()} == {
        5: "/amount_minor",
        6: "/amount_minor",
        7: "",
        8: "",
        9: "/currency",
        10: "/amount_minor",
        12: "/amount_minor",
    }
    assert "belongs to event" in rejected[12]["detail"]
    assert rejected[7]["detail"] == "the row has 5 cells and the header 8"
    events = await tenant.all_events()
    assert [(event.external_id, event.amount_minor) for event in events] == [
        ("a", 2000),
        ("b", -500),
    ]
    assert events[0].metadata == {"plan": "pro, yearly", "re\u00e7u": "n\u00b0 1"}
    assert events[0].transaction_time == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert events[1].metadata == {}


WHOLE = "external_id,account_id,event_type,amount_minor,currency\na,cus_1,CHARGE,1,USD\n"


NOTHING: list[tuple[str, bytes, int, str]] = [
    ("a.csv", b"", 2, "not even a header"),
    ("a.csv", b"\xef\xbb\xbf", 2, "not even a header"),
    ("a.csv", b"\n\n", 2, "not even a header"),
    ("a.csv", WHOLE.partition("\n")[0].encode(), 1, "no rows"),
    ("a.ndjson", b"", 2, "no event"),
    ("a.ndjson", b"\xef\xbb\xbf\r\n", 2, "no event"),
    ("a.csv", gzip.compress(WHOLE.encode()), 2, "gunzip"),
    ("a.csv", WHOLE.encode("utf-16"), 2, "UTF-16"),
    ("a.csv", WHOLE.encode("utf-16-be"), 2, "UTF-16"),
    ("a.csv", WHOLE.replace("\n", "\r").encode(), 2, "carriage return"),
]


async def test_a_file_without_an_event_is_no_success(
    customer: dict[str, str], tmp_path: Path
) -> None:
    for name, text, code, said in NOTHING:
        file = tmp_path / name
        file.write_bytes(text)
        # With a server or without.
        for options in (["--dry-run"], []) if not text else (["--dry-run"],):
            ended = await freehold("import", file, "--json", *options, environment=customer)
            assert ended.code == code, (text, ended)
            assert said in ended.err
            assert len(ended.err.splitlines()) == 1
            assert said in json.loads(ended.out)["error"]


async def test_a_file_cut_off_in_a_line_is_reported_and_the_rest_imported(
    tenant: Tenant, customer: dict[str, str], tmp_path: Path
) -> None:
    for name, text in (
        ("a.csv", WHOLE + "b,cus_1,CHARGE,1"),
        ("a.csv", WHOLE + 'b,cus_1,CHARGE,1,"US'),
        ("a.ndjson", lines(1, 2)[:-2].decode()),
    ):
        file = tmp_path / name
        file.write_text(text)
        for options in (["--dry-run"], []):
            ended = await freehold("import", file, "--json", *options, environment=customer)
            assert ended.code == 1, ended.err
            # In CSV only the last cell's own end would show that a row is whole.
            assert ("has no line break at its end" in ended.err) == (file.suffix == ".csv")
            summary = json.loads(ended.out)
            assert summary["accepted"] + summary["duplicates"] == 1
            (entry,) = summary["rejected"]
            assert "cut off" in entry["errors"][0]["detail"]
    assert (await tenant.lag()).head_seq == 2


def test_a_file_that_changes_while_it_is_read_is_not_finished(tmp_path: Path) -> None:
    stream = (tmp_path / "a.csv").open("wb+")
    with stream:
        stream.write(WHOLE.encode())
        stream.flush()
        stream.seek(0)
        entries = iter(EventFile(stream, Format.CSV))
        next(entries)
        with (tmp_path / "a.csv").open("ab") as writing:
            writing.write(b"b,cus_1,CHARGE,1,USD\n")
        with pytest.raises(CliError, match="changed"):
            list(entries)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("external_id,account_id,event_type,amount_minor,currency,colour,size", "'colour', 'size'"),
        ("external_id,account_id,event_type,amount_minor,currency,metadata.", "'metadata.'"),
        ("external_id,account_id,event_type,amount_minor", "'currency' is missing"),
        ("external_id,external_id,account_id,event_type,amount_minor,currency", "stands twice"),
        ('external_id,"account_id', "not CSV"),
    ],
)
async def test_a_header_that_is_not_understood_is_named(
    customer: dict[str, str], tmp_path: Path, header: str, said: str
) -> None:
    file = tmp_path / "events.csv"
    file.write_text(f"{header}\na,cus_1,CHARGE,1,USD,red,xl\n")
    for options in ([], ["--dry-run"]):
        ended = await freehold("import", file, *options, environment=customer)
        assert ended.code == 2
        assert said in ended.err


async def test_line_numbers_are_the_files_however_long_it_is(
    tenant: Tenant, customer: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "events.jsonl"
    with file.open("wb") as writing:
        writing.write(lines(1, BATCH_LINES) + b"\n" + line(external_id="bad", amount_minor=0))
        writing.write(lines(BATCH_LINES + 1, 2 * BATCH_LINES) + b"x" * 70_000 + b"\n")
        writing.write(lines(1, 5) + b"last")
    ended = await freehold("import", file, "--json", environment=customer)
    assert ended.code == 1, ended.err
    summary = json.loads(ended.out)
    assert (summary["accepted"], summary["duplicates"]) == (2 * BATCH_LINES, 5)
    assert [entry["line"] for entry in summary["rejected"]] == [
        BATCH_LINES + 2,
        2 * BATCH_LINES + 3,
        2 * BATCH_LINES + 9,
    ]


async def test_a_dry_run_holds_every_line_to_the_rules_and_needs_no_server(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(
        lines(1, 30_000)
        + line(external_id="zero", amount_minor=0)
        + b"\n"
        + lines(7, 7)
        + line()
        + lines(29_999, 29_999)
        + lines(7, 7)
        + line(external_id="ch_7", amount_minor=2, account_id="cus_7")
        + line(external_id="own", event_type="HOLD_CAPTURE")
    )
    ended = await freehold("import", file, "--dry-run", "--json", environment={})
    assert ended.code == 1, ended.err
    summary = json.loads(ended.out)
    assert (summary["accepted"], summary["duplicates"], summary["conflicts"]) == (30_000, 3, 1)
    assert [entry["line"] for entry in summary["rejected"]] == [30_001, 30_004, 30_007, 30_008]
    assert summary["rejected"][2]["errors"][0] == {
        "pointer": "/amount_minor",
        "detail": "the external_id stands on line 7 already, which differs in amount_minor",
    }
    assert [(entry["line"], entry["errors"][0]["detail"]) for entry in summary["repeated"]] == [
        (30_003, "the external_id stands on line 7 already"),
        (30_005, "the external_id stands on line 29999 already"),
        (30_006, "the external_id stands on line 7 already"),
    ]
    file.write_bytes(lines(1, 2) + lines(2, 3))
    ended = await freehold("import", file, "--dry-run", environment={})
    assert ended.code == 0, ended.err
    assert "3 events could be imported, 1 lines repeat an earlier one, 0 lines" in ended.out
    assert ended.out.splitlines()[-1].strip().split(maxsplit=1) == [
        "3",
        "the external_id stands on line 2 already",
    ]


async def test_a_dry_run_sends_nothing(
    tenant: Tenant, customer: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(lines(1, 3))
    assert (await freehold("import", file, "--dry-run", environment=customer)).code == 0
    assert (await tenant.lag()).head_seq == 0


async def test_only_so_many_rejected_lines_are_shown(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"[markup] is kept\n" * 150)
    ended = await freehold("import", file, "--dry-run", environment={})
    assert ended.code == 1
    assert "150 lines would be rejected" in ended.out
    assert "and 130 more lines rejected" in ended.out


async def test_events_may_come_from_standard_input(
    tenant: Tenant, customer: dict[str, str]
) -> None:
    text = b"account_id,event_type,amount_minor,currency,external_id\ncus_1,CHARGE,5,EUR,a\n"
    ended = await freehold("import", "-", "--format", "csv", environment=customer, given=text)
    assert ended.code == 0, ended.err
    ended = await freehold("import", "-", environment=customer, given=line(external_id="b"))
    assert ended.code == 0, ended.err
    assert (await tenant.lag()).head_seq == 2


async def test_a_key_may_come_from_a_file(
    tenant: Tenant, customer: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(f"{tenant.api_key}\n")
    del customer["FREEHOLD_API_KEY"]
    file = tmp_path / "events.ndjson"
    file.write_bytes(lines(1, 2))
    ended = await freehold("import", file, "--api-key-file", tmp_path / "key", environment=customer)
    assert ended.code == 0, ended.err
    ended = await freehold("import", file, "--api-key-file", tmp_path, environment=customer)
    assert ended.code == 2


async def test_a_key_of_another_tenant_than_was_named_sends_nothing(
    tenant: Tenant, other_tenant: Tenant, customer: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(lines(1, 2))
    ended = await freehold("import", file, "--tenant", other_tenant.tenant_id, environment=customer)
    assert ended.code == 2
    assert f"one of {tenant.tenant_id}, not of {other_tenant.tenant_id}" in ended.err
    for each in (tenant, other_tenant):
        assert (await each.lag()).head_seq == 0


async def test_the_stack_of_the_folder_is_found_where_no_url_is_set(
    tenant: Tenant, operator: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local/freehold.env").write_text(
        "".join(f"{name}='{value}'\n" for name, value in operator.items())
    )
    (tmp_path / "events.ndjson").write_bytes(lines(1, 2))
    command = ("import", "events.ndjson", "--tenant", tenant.tenant_id)
    ended = await freehold(*command, environment={}, folder=tmp_path)
    assert ended.code == 0, ended.err
    # Its token is not shown to anybody elsewhere.
    elsewhere = {"FREEHOLD_TENANT_MANAGER_URL": operator["FREEHOLD_TENANT_MANAGER_URL"]}
    ended = await freehold(*command, environment=elsewhere, folder=tmp_path)
    assert ended.code == 2
    assert "FREEHOLD_OPERATOR_TOKEN" in ended.err


async def test_what_is_called_wrongly_ends_with_two(
    customer: dict[str, str], operator: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(lines(1, 2))
    (tmp_path / "events.txt").write_bytes(lines(1, 2))
    wrong: list[tuple[list[str | Path], Mapping[str, str]]] = [
        (["import"], customer),
        (["import", tmp_path / "nothing.ndjson"], customer),
        (["import", tmp_path], customer),
        (["import", tmp_path / "events.txt"], customer),
        (["import", file, "--format", "xml"], customer),
        (["import", file], {}),
        (["import", file], operator),
        (["import", file], {**customer, "FREEHOLD_INGEST_URL": "ftp://somewhere"}),
    ]
    for words, environment in wrong:
        ended = await freehold(*words, environment=environment, folder=tmp_path)
        assert ended.code == 2, words
        assert ended.err


async def test_a_server_that_refuses_or_is_not_there_ends_with_three(
    customer: dict[str, str], operator: dict[str, str], tenant: Tenant, tmp_path: Path
) -> None:
    file = tmp_path / "events.ndjson"
    file.write_bytes(lines(1, 2))
    nowhere = "http://127.0.0.1:1"
    reader = await tenant.limited_to("read")
    refusing: list[tuple[list[str], Mapping[str, str], str]] = [
        ([], {**customer, "FREEHOLD_API_KEY": reader.api_key}, "the scope ingest"),
        ([], {**customer, "FREEHOLD_API_KEY": "nonsense"}, "not valid"),
        ([], {**customer, "FREEHOLD_INGEST_URL": nowhere}, "does not answer"),
        (["--tenant", "unknown-tenant"], operator, "no such tenant"),
        (
            ["--tenant", tenant.tenant_id],
            {**operator, "FREEHOLD_TENANT_MANAGER_URL": nowhere},
            "does not answer",
        ),
    ]
    for options, environment, said in refusing:
        ended = await freehold("import", file, "--json", *options, environment=environment)
        assert ended.code == 3, said
        assert said in ended.err
        summary: Document = json.loads(ended.out)
        assert (summary["done"], summary["events"]) == (False, 0)
        assert said in summary["error"]
    for secret in (customer["FREEHOLD_API_KEY"], operator["FREEHOLD_OPERATOR_TOKEN"]):
        assert secret not in ended.out + ended.err
    assert (await tenant.lag()).head_seq == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_temporary_key_is_revoked_when_the_command_is_ended(
    tenant: Tenant, operator: dict[str, str], number: signal.Signals
) -> None:
    async def lent() -> list[Document]:
        path = f"/tenants/{tenant.tenant_id}/api-keys"
        keys = found(await tenant.freehold.manage("GET", path))["data"]
        return [key for key in keys if key["expires_at"] is not None]

    process = started("import", "-", "--tenant", tenant.tenant_id, environment=operator)
    try:
        await eventually(lent, "a key has been lent")
        process.send_signal(number)
        assert (await process.communicate()).code == 128 + number
    finally:
        if process.returncode is None:
            process.kill()
    assert [key["revoked_at"] is not None for key in await lent()] == [True]
