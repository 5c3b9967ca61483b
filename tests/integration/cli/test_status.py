"""``freehold status``: well or not, and why, whatever services answer."""

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.commands import freehold
from support.scripted import Answer, document, scripted

NOWHERE = "http://127.0.0.1:1"
ALIVE = document(200, {"status": "ok", "version": "0.1.0", "commit": "abc1234"})
READY = document(200, {"status": "ok", "checks": {"catalog": True, "broker": True}})
MIGRATIONS = {
    "ledger_version": 12,
    "ledger_version_min": 11,
    "versions": [{"schema_version": 11, "tenants": 1}, {"schema_version": 12, "tenants": 49}],
    "statuses": {},
    "data": [],
    "next_cursor": None,
}
OVERVIEW: dict[str, Any] = {
    "tenants": {"provisioning": 0, "active": 49, "suspended": 1, "deleting": 0, "deleted": 3},
    "lag": {
        "tenants_asked": 50,
        "tenants_silent": 0,
        "tenants_unasked": 0,
        "events_behind": 1002,
        "seconds_behind": 1.5,
        "worst": [{"tenant_id": "acme", "events_behind": 1002, "seconds_behind": 1.5}],
    },
    "backups": {
        "every_s": 86400,
        "oldest_at": (datetime.now(UTC) - timedelta(hours=20)).isoformat(),
        "tenants_without": 2,
        "tenants_late": 0,
        "damaged": 0,
    },
    "trials": {"every_s": 604800, "oldest_at": None, "tenants_without": 50, "tenants_late": 0},
    "reconciliations": {
        "oldest_at": None,
        "tenants_with_findings": [],
        "tenants_with_findings_count": 0,
    },
    "broker": "answers",
    "parked_doorbells": 0,
}


def operation(status: str, **changes: Any) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "operation_id": "5f2b6f0e-3c52-4f5e-9a53-2a1f6b7a9c11",
        "kind": "backup",
        "tenant_id": "acme",
        "status": status,
        "progress": 0.5,
        "message": "the disk is full",
        "result": None,
        "created_at": (now - timedelta(hours=2)).isoformat(),
        "finished_at": (now - timedelta(hours=1)).isoformat(),
        **changes,
    }


def answers(
    overview: dict[str, Any] = OVERVIEW,
    *,
    failed: tuple[dict[str, Any], ...] = (),
    succeeded: tuple[dict[str, Any], ...] = (),
    migrations: dict[str, Any] = MIGRATIONS,
) -> list[Answer]:
    """What tenant-manager answers, in the order in which it is asked."""
    running = operation("running", tenant_id="initech")
    lists: list[tuple[dict[str, Any], ...]] = [(), (running,), failed, succeeded]
    return [
        ALIVE,
        READY,
        document(200, migrations),
        *(document(200, {"data": list(each), "next_cursor": None}) for each in lists),
        document(200, overview),
    ]


async def test_all_is_well() -> None:
    async with scripted(*answers()) as server:
        ended = await freehold("status", environment=server.operator)
    assert ended.code == 0, ended.out + ended.err
    rows = [row.split() for row in ended.out.splitlines()]
    assert rows[0] == ["service", "ready", "version", "commit", "remarks"]
    assert rows[1] == ["tenant-manager", "yes", "0.1.0", "abc1234", "-"]
    assert "not asked: set FREEHOLD_QUERY_URL" in ended.out
    for said in (
        "49 active, 1 suspended, 3 deleted",
        "1,002 events behind, at most 1.5 s; acme 1,002 (1.5 s)",
        "20 h ago; tenants without one: 2",
        "1 of version 11 (this release has 12); 49 of version 12",
        "1 running; backup of initech 50%",
    ):
        assert said in ended.out
    assert rows[-1] == ["All", "is", "well."]


async def test_for_scripts_it_is_one_document() -> None:
    async with scripted(*answers()) as server:
        ended = await freehold("status", "--json", environment=server.operator)
        assert ended.code == 0, ended.err
        state = json.loads(ended.out)
        assert (state["ok"], state["faults"]) == (True, [])
        assert state["installation"]["overview"] == OVERVIEW
        assert state["services"][0]["url"] == server.url


async def test_a_tenant_manager_without_a_broker_is_no_fault() -> None:
    overview = {**OVERVIEW, "broker": "unset", "parked_doorbells": None}
    async with scripted(*answers(overview)) as server:
        ended = await freehold("status", environment=server.operator)
    assert ended.code == 0, ended.out
    assert "not known" in ended.out


Change = Callable[[dict[str, Any]], object]

NOT_WELL: dict[str, tuple[Change, str]] = {
    "silent": (lambda o: o["lag"].update(tenants_silent=2), "databases that do not answer: 2"),
    "behind": (lambda o: o["lag"].update(seconds_behind=61), "by up to 61 s"),
    "late": (lambda o: o["backups"].update(tenants_late=3), "tenants whose backups are late: 3"),
    "untried": (
        lambda o: o["trials"].update(tenants_late=4),
        "tenants whose trial restores are late: 4",
    ),
    "damaged": (lambda o: o["backups"].update(damaged=1), "damaged backups: 1"),
    "parked": (lambda o: o.update(parked_doorbells=5), "parked doorbells: 5"),
    "no broker": (
        lambda o: o.update(broker="silent", parked_doorbells=None),
        "broker does not answer",
    ),
    "differing": (
        lambda o: o["reconciliations"].update(
            tenants_with_findings=["acme"], tenants_with_findings_count=1
        ),
        "differ from their ledger: 1 (acme)",
    ),
}


@pytest.mark.parametrize(("change", "said"), NOT_WELL.values(), ids=NOT_WELL)
async def test_what_is_not_well_is_named(change: Change, said: str) -> None:
    overview = copy.deepcopy(OVERVIEW)
    change(overview)
    async with scripted(*answers(overview)) as server:
        ended = await freehold("status", environment=server.operator)
    assert ended.code == 1, ended.err
    (fault,) = [line for line in ended.out.splitlines() if line.startswith("Not well: ")]
    assert said in fault
    assert "All is well" not in ended.out


async def test_a_failed_operation_counts_until_it_is_done_again() -> None:
    failed = operation("failed")
    long_ago = (datetime.now(UTC) - timedelta(days=2)).isoformat()
    later = operation("succeeded", created_at=datetime.now(UTC).isoformat())
    for script, code in (
        (answers(failed=(failed,)), 1),
        (answers(failed=(failed,), succeeded=(later,)), 0),
        (answers(failed=(failed,), succeeded=({**later, "tenant_id": "globex"},)), 1),
        (answers(failed=({**failed, "created_at": long_ago, "finished_at": long_ago},)), 0),
    ):
        async with scripted(*script) as server:
            ended = await freehold("status", environment=server.operator)
        assert ended.code == code, ended.out
        assert ("the backup of acme failed: the disk is full" in ended.out) == bool(code)


async def test_a_ledger_too_old_for_this_release_is_named() -> None:
    old = {**MIGRATIONS, "versions": [{"schema_version": 10, "tenants": 6}]}
    async with scripted(*answers(migrations=old)) as server:
        ended = await freehold("status", environment=server.operator)
    assert ended.code == 1
    assert "ledgers that are too old for this release: 6" in ended.out


async def test_a_service_that_is_not_ready_says_why() -> None:
    report = {
        "type": "/problems/unavailable",
        "title": "-",
        "status": 503,
        "detail": "waiting for: catalog",
        "checks": {"catalog": False, "broker": False},
        "reasons": {"catalog": "the password is wrong"},
    }
    async with (
        scripted(*answers()) as manager,
        scripted(document(200, {"status": "ok"}), document(503, report)) as query,
        scripted(document(200, "<html>")) as projector,
    ):
        environment = {
            **manager.operator,
            "FREEHOLD_QUERY_URL": query.url,
            "FREEHOLD_PROJECTOR_URL": projector.url,
            "FREEHOLD_INGEST_URL": NOWHERE,
        }
        ended = await freehold("status", "--json", environment=environment)
    assert ended.code == 1
    state = json.loads(ended.out)
    by_name = {each["service"]: each for each in state["services"]}
    assert by_name["query"]["ready"] is False
    assert (by_name["query"]["version"], by_name["query"]["commit"]) == (None, None)
    assert by_name["query"]["reasons"] == [
        "catalog: the password is wrong",
        "broker does not answer",
    ]
    assert "does not answer" in by_name["ingest"]["reasons"][0]
    assert "not as a Freehold does" in by_name["projector"]["reasons"][0]
    assert state["faults"] == [
        "ingest is not ready",
        "query is not ready",
        "projector is not ready",
    ]


async def test_without_tenant_manager_the_services_are_still_shown() -> None:
    async with scripted(ALIVE, READY) as query:
        environment = {
            "FREEHOLD_TENANT_MANAGER_URL": NOWHERE,
            "FREEHOLD_QUERY_URL": query.url,
            "FREEHOLD_OPERATOR_TOKEN": "a-token",
        }
        ended = await freehold("status", environment=environment)
    assert ended.code == 1
    (row,) = [row.split() for row in ended.out.splitlines() if row.startswith("query")]
    assert row[:2] == ["query", "yes"]
    assert "what tenant-manager knows cannot be shown" in ended.out


async def test_without_a_token_it_was_called_wrongly() -> None:
    async with scripted(ALIVE, READY) as query:
        ended = await freehold("status", environment={"FREEHOLD_QUERY_URL": query.url})
    assert ended.code == 2
    assert "FREEHOLD_OPERATOR_TOKEN" in ended.err
