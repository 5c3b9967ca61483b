"""Results that cannot be written, keys that would be lost with them, and names that play tricks."""

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.commands import FREEHOLD, freehold
from support.scripted import chunks, document, scripted

KEY_ID = "0123456789abcdef"
KEY = f"fh_{KEY_ID}_{'0123456789abcdef' * 4}"
MADE = {
    "key_id": KEY_ID,
    "api_key": KEY,
    "scopes": ["read"],
    "label": None,
    "created_at": "2026-03-01T12:00:00.000000Z",
    "expires_at": None,
}
OLD = {**MADE, "key_id": "f" * 16, "expires_at": "2026-03-01T13:00:00Z", "revoked_at": None}
TENANT: dict[str, Any] = {
    "tenant_id": "acme",
    "name": "Acme \u202e\x1b[2Jdtl",
    "status": "active",
    "region": "local",
    "schema_version": 1,
    "epoch": 1,
    "created_at": "2026-03-01T12:00:00Z",
}
LISTED = document(200, {"data": [TENANT], "next_cursor": None})
GONE = document(204, {})
MAKING = [
    (("keys", "create", "acme", "--scope", "read"), MADE),
    (("keys", "rotate", "acme", "f" * 16), {**MADE, "replaced": OLD}),
    (("tenants", "create", "acme"), {"tenant": TENANT, "api_key": KEY}),
]
making = pytest.mark.parametrize(
    ("words", "answer"), MAKING, ids=[" ".join(words[:2]) for words, _ in MAKING]
)


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


@contextmanager
def full_disk() -> Iterator[int]:
    """Have a file that takes nothing (full(4))."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def no_reader() -> Iterator[int]:
    """Have a pipe without a reader."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        yield writing
    finally:
        os.close(writing)


@pytest.mark.parametrize(
    "words", [("tenants", "list"), ("tenants", "list", "--json"), ("--help",), ("--version",)]
)
async def test_a_result_that_cannot_be_written_is_reported_in_one_line(
    words: tuple[str, ...],
) -> None:
    async with scripted(LISTED) as server:
        with full_disk() as out:
            ended = await freehold(*words, environment=server.operator, out=out)
        assert ended.code == 3
        assert ended.err == "The result cannot be written: No space left on device.\n"
        with no_reader() as out:
            ended = await freehold(*words, environment=server.operator, out=out)
        assert (ended.code, ended.err) == (141, "")


async def test_an_export_to_a_full_disk_is_reported_in_one_line() -> None:
    async with scripted(chunks(b"SELECT 1;\n" * 100_000, ended=True)) as server:
        words = ("export", "acme", "-o", "-")
        with full_disk() as out:
            ended = await freehold(*words, environment=server.operator, out=out)
        assert ended.code == 3
        assert ended.err == "The result cannot be written: No space left on device.\n"
        with no_reader() as out:
            ended = await freehold(*words, environment=server.operator, out=out)
        assert (ended.code, ended.err) == (141, "")


async def test_a_closed_stream_is_reported_where_it_is_needed() -> None:
    async with scripted(LISTED) as server:
        for redirected, code, said in (
            (">&-", 3, "cannot be written"),
            ("2>/dev/full", 0, ""),
            ("2>&- <&-", 0, ""),
        ):
            process = await asyncio.create_subprocess_shell(
                f"exec {FREEHOLD} tenants list --json {redirected}",
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=server.operator,
            )
            async with asyncio.timeout(60):
                out, err = await process.communicate()
            assert process.returncode == code, (redirected, err)
            assert said.encode() in err
            assert b"Traceback" not in err
            assert bool(out) == (code == 0)


@making
@pytest.mark.parametrize("is_json", [False, True])
async def test_a_key_that_cannot_be_written_is_revoked(
    words: tuple[str, ...], answer: dict[str, Any], is_json: bool
) -> None:
    options = ["--json"] if is_json else []
    for unwritable in (full_disk, no_reader):
        async with scripted(document(201, answer), GONE) as server:
            with unwritable() as out:
                ended = await freehold(*words, *options, environment=server.operator, out=out)
            assert len(server.asked) == 2
            assert server.asked[1] == f"DELETE /v1/tenants/acme/api-keys/{KEY_ID}"
        assert ended.code == 3
        assert "so it was revoked" in ended.err
        assert "freehold keys create acme" in ended.err
        assert "Traceback" not in ended.err
        assert KEY not in ended.err


@making
async def test_a_key_goes_into_a_file_of_its_owner_alone(
    words: tuple[str, ...], answer: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "acme.key"
    async with scripted(document(201, answer), GONE) as server:
        written = await freehold(*words, "-o", file, environment=server.operator)
        assert (written.code, written.out) == (0, ""), written.err
        assert file.read_text() == f"{KEY}\n"
        assert file.stat().st_mode & 0o777 == 0o600
        # Before a key is made it is known where it goes.
        for unfit in (file, tmp_path / "nothing" / "acme.key"):
            ended = await freehold(*words, "-o", unfit, environment=server.operator)
            assert ended.code in {2, 3}
            assert len(ended.err.splitlines()) == 1
        assert len(server.asked) == 1
    assert files_in(tmp_path) == [file]


async def test_a_lost_key_that_cannot_be_revoked_is_named() -> None:
    problem = {"type": "/problems/unavailable", "title": "-", "status": 503, "detail": "not now"}
    async with scripted(document(201, MADE), document(503, problem)) as server:
        with full_disk() as out:
            words = ("keys", "create", "acme", "--scope", "read")
            ended = await freehold(*words, environment=server.operator, out=out)
    assert ended.code == 3
    assert f"freehold keys revoke acme {KEY_ID}" in ended.err
    assert "so it was revoked" not in ended.err


async def test_terminal_control_characters_are_escaped() -> None:
    async with scripted(LISTED) as server:
        listed = await freehold("tenants", "list", environment=server.operator)
        assert listed.code == 0, listed.err
        assert r"Acme \u202e\x1b[2Jdtl" in listed.out
        as_json = await freehold("tenants", "list", "--json", environment=server.operator)
        assert json.loads(as_json.out)["data"][0]["name"] == TENANT["name"]
        # An encoding that lacks a character fails nothing either.
        latin = {**server.operator, "PYTHONIOENCODING": "ascii"}
        process = await asyncio.create_subprocess_exec(FREEHOLD, "tenants", "list", env=latin)
        assert await process.wait() == 0


async def test_json_has_what_a_later_release_adds() -> None:
    later = {**TENANT, "colour": {"of": ["hope"]}}
    async with scripted(document(200, {"data": [later], "next_cursor": None})) as server:
        listed = await freehold("tenants", "list", "--json", environment=server.operator)
    assert json.loads(listed.out) == {"data": [later]}


DESTROYING: dict[str, list[tuple[str, ...]]] = {
    "acme": [
        ("tenants", "delete", "acme"),
        ("restore", "acme", "--to", "2026-03-01T12:00:00Z"),
        ("credentials", "rotate", "acme"),
        ("credentials", "rotate", "acme", "--service", "auditor"),
    ],
    "fh_0123456789abcdef": [("former", "drop", "acme", "fh_0123456789abcdef")],
    KEY_ID: [
        ("keys", "revoke", "acme", KEY_ID),
        ("keys", "rotate", "acme", KEY_ID, "--overlap", "0s"),
    ],
}


@pytest.mark.parametrize(
    ("words", "name"), [(words, name) for name, all_ in DESTROYING.items() for words in all_]
)
async def test_destructive_commands_need_confirmation(words: tuple[str, ...], name: str) -> None:
    problem = {"type": "/problems/not-found", "title": "-", "status": 404, "detail": "nothing"}
    async with scripted(document(404, problem)) as server:
        for confirm in ([], ["--confirm", "another"], ["--confirm", ""]):
            ended = await freehold(*words, *confirm, environment=server.operator)
            assert ended.code == 2
            assert f"--confirm {name}" in ended.err
        assert server.asked == []
        ended = await freehold(*words, "--confirm", name, environment=server.operator)
        assert ended.code == 3, ended.err
        assert len(server.asked) == 1


async def test_a_key_is_made_for_scopes_that_are_named() -> None:
    async with scripted(document(201, MADE)) as server:
        ended = await freehold("keys", "create", "acme", environment=server.operator)
        assert ended.code == 2
        assert "--scope ingest, --scope read, --scope audit, --scope export" in ended.err
        assert server.asked == []
