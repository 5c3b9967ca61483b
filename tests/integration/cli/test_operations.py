"""Waiting for an operation's end: through restarts of the server, and until it is interrupted."""

import json
import signal
from typing import Any

from support.commands import freehold, started
from support.scripted import document, nothing, scripted
from support.waiting import eventually

AWAY = {"type": "/problems/unavailable", "title": "-", "status": 503, "detail": "not now"}
ID = "5f2b6f0e-3c52-4f5e-9a53-2a1f6b7a9c11"


def operation(**changes: Any) -> dict[str, Any]:
    return {
        "operation_id": ID,
        "kind": "backup",
        "tenant_id": "acme",
        "status": "running",
        "progress": 0.25,
        "message": "dumping",
        "result": None,
        "created_at": "2026-03-01T12:00:00.000000Z",
        "finished_at": None,
        **changes,
    }


DONE = operation(status="succeeded", progress=1.0, message="done", result={"backup_id": "b-7"})
FAILED = operation(status="failed", message="the disk is full")


async def test_a_command_waits_for_a_server_that_restarts() -> None:
    answers = [document(202, operation()), nothing(), document(503, AWAY), document(200, DONE)]
    async with scripted(*answers) as server:
        ended = await freehold("backup", "create", "acme", "--json", environment=server.operator)
        assert ended.code == 0, ended.err
        assert server.asked == ["POST /v1/tenants/acme/backups", *[f"GET /v1/operations/{ID}"] * 3]
    assert json.loads(ended.out) == DONE
    assert ended.err.count("Asking on") == 1


async def test_an_operation_that_failed_ends_with_one_and_its_reason() -> None:
    async with scripted(document(202, operation()), document(200, FAILED)) as server:
        ended = await freehold("backup", "create", "acme", environment=server.operator)
    assert (ended.code, ended.out) == (1, "")
    assert "The backup of acme failed: the disk is full" in ended.err


async def test_a_command_that_does_not_wait_says_how_to() -> None:
    async with scripted(document(202, operation())) as server:
        ended = await freehold("backup", "create", "acme", "--no-wait", environment=server.operator)
        assert len(server.asked) == 1
    assert ended.code == 0, ended.err
    assert f"freehold operations wait {ID}" in ended.err
    assert ID in ended.out


async def test_an_operation_continues_when_the_command_is_interrupted() -> None:
    async with scripted(document(200, operation())) as server:
        process = started("operations", "wait", ID, environment=server.operator)

        async def waiting() -> bool:
            return len(server.asked) > 2

        await eventually(waiting, "the command waits")
        process.send_signal(signal.SIGINT)
        ended = await process.communicate()
    assert ended.code == 130
    assert "goes on by itself" in ended.err
    assert f"freehold operations wait {ID}" in ended.err
    assert "Traceback" not in ended.err


async def test_the_status_shown_is_the_operations_own() -> None:
    done = operation(status="succeeded", result={"status": "complete", "backup_id": "b-7"})
    async with scripted(document(200, done)) as server:
        ended = await freehold("operations", "show", ID, environment=server.operator)
    rows = [row.split() for row in ended.out.splitlines()]
    assert ["status", "succeeded"] in rows
    assert ["backup", "id", "b-7"] in rows


async def test_a_refusal_while_waiting_ends_it() -> None:
    problem = {"type": "/problems/not-found", "title": "-", "status": 404, "detail": "none such"}
    async with scripted(document(200, operation()), document(404, problem)) as server:
        ended = await freehold("operations", "wait", ID, environment=server.operator)
    assert ended.code == 3
    assert "none such" in ended.err


async def test_what_is_shown_of_an_operation_is_no_markup() -> None:
    shown = operation(message="[red]done[/red]", result={"names": ["[b]"]})
    async with scripted(document(200, shown)) as server:
        ended = await freehold("operations", "show", ID, environment=server.operator)
    assert ended.code == 0, ended.err
    assert "[red]done[/red]" in ended.out
    assert '["[b]"]' in ended.out
