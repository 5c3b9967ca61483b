"""Waiting for an operation's end: through restarts of the server, and until nobody wants to."""

import json
import signal
from typing import Any

from support.commands import ending, freehold, started
from support.scripted import Scripted, document, nothing, scripted
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


def operator(server: Scripted) -> dict[str, str]:
    return {"FREEHOLD_TENANT_MANAGER_URL": server.url, "FREEHOLD_OPERATOR_TOKEN": "a token"}


async def test_a_server_that_is_started_anew_meanwhile_is_waited_for() -> None:
    answers = [document(202, operation()), nothing(), document(503, AWAY), document(200, DONE)]
    async with scripted(*answers) as server:
        ended = await freehold("backup", "create", "acme", "--json", environment=operator(server))
        assert ended.code == 0, ended.err
        assert server.asked == [
            "POST /v1/tenants/acme/backups",
            *[f"GET /v1/operations/{ID}"] * 3,
        ]
    assert json.loads(ended.out) == DONE
    assert ended.err.count("Asking on") == 1


async def test_an_operation_that_failed_ends_with_one_and_its_reason() -> None:
    async with scripted(document(202, operation()), document(200, FAILED)) as server:
        ended = await freehold("backup", "create", "acme", environment=operator(server))
    assert (ended.code, ended.out) == (1, "")
    assert "The backup of acme failed: the disk is full" in ended.err


async def test_whoever_does_not_wait_is_told_how_to() -> None:
    async with scripted(document(202, operation())) as server:
        ended = await freehold(
            "backup", "create", "acme", "--no-wait", environment=operator(server)
        )
        assert len(server.asked) == 1
    assert ended.code == 0, ended.err
    assert f"freehold operations wait {ID}" in ended.err
    assert ID in ended.out


async def test_an_operation_goes_on_where_the_command_is_interrupted() -> None:
    async with scripted(document(200, operation())) as server:
        process = await started("operations", "wait", ID, environment=operator(server))

        async def waiting() -> bool:
            return len(server.asked) > 2

        await eventually(waiting, "the command waits")
        process.send_signal(signal.SIGINT)
        ended = await ending(process)
    assert ended.code == 130
    assert "goes on by itself" in ended.err
    assert f"freehold operations wait {ID}" in ended.err
    assert "Traceback" not in ended.err


async def test_a_refusal_while_waiting_ends_it() -> None:
    problem = {"type": "/problems/not-found", "title": "-", "status": 404, "detail": "none such"}
    async with scripted(document(200, operation()), document(404, problem)) as server:
        ended = await freehold("operations", "wait", ID, environment=operator(server))
    assert ended.code == 3
    assert "none such" in ended.err


async def test_what_is_shown_of_an_operation_is_no_markup() -> None:
    shown = operation(message="[red]done[/red]", result={"names": ["[b]"]})
    async with scripted(document(200, shown)) as server:
        ended = await freehold("operations", "show", ID, environment=operator(server))
    assert ended.code == 0, ended.err
    assert "[red]done[/red]" in ended.out
    assert '["[b]"]' in ended.out
