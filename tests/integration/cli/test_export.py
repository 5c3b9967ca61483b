"""``freehold export``: a file whole or not at all, whatever the server and the disk do."""

import json
from pathlib import Path

import pytest

from support.commands import freehold
from support.scripted import Answer, chunks, document, scripted

PROBLEM = {"type": "/problems/unavailable", "title": "-", "status": 503, "detail": "not now"}


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_a_whole_export_gets_its_name_and_is_its_owners_alone(tmp_path: Path) -> None:
    async with scripted(chunks(b"SELECT 1;\n", b"\xff\x00", ended=True)) as server:
        ended = await freehold("export", "acme", environment=server.operator, folder=tmp_path)
        assert ended.code == 0, ended.err
        assert server.asked == ["GET /v1/tenants/acme/export?format=sql"]
    file = tmp_path / "acme.sql"
    assert files_in(tmp_path) == [file]
    assert file.read_bytes() == b"SELECT 1;\n\xff\x00"
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_tenant_exports_with_their_own_key(tmp_path: Path) -> None:
    async with scripted(chunks(b"PGDMP", ended=True)) as server:
        environment = {"FREEHOLD_TENANT_MANAGER_URL": server.url, "FREEHOLD_API_KEY": "fh_key"}
        words = ["export", "--format", "custom", "--json"]
        ended = await freehold(*words, environment=environment, folder=tmp_path)
        assert ended.code == 0, ended.err
        assert server.asked == ["GET /v1/export?format=custom"]
    summary = json.loads(ended.out)
    assert (summary["file"], summary["bytes"]) == ("ledger.dump", 5)
    assert (tmp_path / "ledger.dump").read_bytes() == b"PGDMP"


async def test_standard_output_takes_it_as_it_is(tmp_path: Path) -> None:
    async with scripted(chunks(b"SELECT 1;\n", ended=True)) as server:
        words = ["export", "acme", "-o", "-"]
        ended = await freehold(*words, environment=server.operator, folder=tmp_path)
    assert (ended.code, ended.out) == (0, "SELECT 1;\n")
    assert files_in(tmp_path) == []


BROKEN: dict[str, tuple[Answer, str]] = {
    "in the middle": (chunks(b"SELECT 1;\n", ended=False), "broke off"),
    "at the beginning": (b"", "does not answer"),
    "refused": (document(503, PROBLEM), "not now"),
    "by a stranger": (document(502, "<html>"), "not as a Freehold does"),
}


@pytest.mark.parametrize(("answer", "said"), BROKEN.values(), ids=BROKEN)
async def test_an_interrupted_export_leaves_no_file(
    tmp_path: Path, answer: Answer, said: str
) -> None:
    kept = tmp_path / "acme.sql"
    kept.write_text("the last one")
    async with scripted(answer) as server:
        words = ["export", "acme", "--overwrite", "--json"]
        ended = await freehold(*words, environment=server.operator, folder=tmp_path)
    assert ended.code == 3
    assert said in ended.err
    assert said in json.loads(ended.out)["error"]
    assert files_in(tmp_path) == [kept]
    assert kept.read_text() == "the last one"


async def test_a_file_that_exists_is_not_replaced_unasked(tmp_path: Path) -> None:
    (tmp_path / "acme.sql").write_text("the last one")
    async with scripted(chunks(b"SELECT 1;\n", ended=True)) as server:
        ended = await freehold("export", "acme", environment=server.operator, folder=tmp_path)
        assert ended.code == 2
        assert "--overwrite" in ended.err
        assert server.asked == []
        words = ["export", "acme", "--overwrite"]
        ended = await freehold(*words, environment=server.operator, folder=tmp_path)
        assert ended.code == 0, ended.err
    assert (tmp_path / "acme.sql").read_text() == "SELECT 1;\n"


async def test_an_unwritable_file_is_reported_before_any_request(tmp_path: Path) -> None:
    async with scripted(chunks(b"", ended=True)) as server:
        words = ["export", "acme", "-o", str(tmp_path / "nowhere" / "acme.sql")]
        ended = await freehold(*words, environment=server.operator)
        assert ended.code == 3
        assert "cannot be written" in ended.err
        assert server.asked == []
