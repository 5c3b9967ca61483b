"""Ledgers of earlier releases, brought up to date: each whole, each by itself, whatever happens."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from freehold.contracts.errors import DomainError, LedgerVersionUnsupported
from freehold.ledger import client
from freehold.ledger.schema import LEDGER_SOURCE, LEDGER_VERSION, Migration, Phase, SchemaSource
from freehold.tenants.catalog import Catalog
from freehold.tenants.homes import Home
from freehold_tenant_manager.migrations.ledger_migration import LedgerMigration
from freehold_tenant_manager.migrations.migrations import Migrations
from freehold_tenant_manager.operations.operations import Operations
from freehold_tenant_manager.server.server import Server
from freehold_tenant_manager.settings import Settings
from integration.tenant_manager.installation import (
    KEY_RING,
    Installation,
    client_of,
    components_of,
    connected,
    database_of,
    make_tenant,
    running,
)
from integration.tenant_manager.ledgers import home_of
from support.answers import pointers
from support.operations import operation_ended, request_ended
from support.releases import EarlierRelease, Left
from support.waiting import eventually

LOCK_TIMEOUT_S = 0.2

# What a next release may bring.
ADDS = Migration(
    LEDGER_VERSION + 1,
    "colours",
    "CREATE TABLE colours (x integer);"
    "CREATE FUNCTION colour() RETURNS integer LANGUAGE sql AS 'SELECT 1';"
    "ALTER TABLE ledger_head ADD COLUMN colour integer;",
)
TAKES_AWAY = Migration(LEDGER_VERSION + 2, "no_colours", "DROP TABLE colours;", "after")
NEXT_RELEASE = replace(LEDGER_SOURCE, migrations=(*LEDGER_SOURCE.migrations, ADDS, TAKES_AWAY))


@pytest.fixture
def earlier(installation: Installation, settings: Settings, app: FastAPI) -> EarlierRelease:
    """A release with this one's ledger, which gave tenants no role for backups."""
    return earlier_release(installation, settings, LEDGER_SOURCE)


@pytest.fixture
def behind(installation: Installation, settings: Settings, app: FastAPI) -> EarlierRelease:
    """A release whose tenants this one has to migrate."""
    return earlier_release(installation, settings, None)


def earlier_release(
    installation: Installation, settings: Settings, source: SchemaSource | None
) -> EarlierRelease:
    return EarlierRelease(
        installation.server_url, settings.catalog_name, installation.role, KEY_RING, source
    )


class NextRelease:
    """A tenant-manager that knows further migrations, on the catalog of this one."""

    def __init__(
        self,
        installation: Installation,
        settings: Settings,
        app: FastAPI,
        ledger: SchemaSource = NEXT_RELEASE,
        *,
        attempts_max: int = 8,
    ) -> None:
        server = Server(
            settings.catalog_dsn.get_secret_value(), connect_timeout_s=5, statement_timeout_s=30
        )
        self._manager = components_of(app)
        self.ledgers = LedgerMigration(
            server, KEY_RING, lock_timeout_s=LOCK_TIMEOUT_S, timeout_s=30, ledger=ledger
        )
        self.migrations = Migrations(
            server, self.ledgers, in_flight_max=3, attempts_max=attempts_max
        )

    def parameters(self, phase: Phase, tenants: Sequence[Left]) -> dict[str, Any]:
        """Give what an operation is told."""
        return {
            "phase": phase,
            "ledger_version": self.ledgers.version,
            "tenants": sorted(tenant.tenant_id for tenant in tenants),
        }

    @asynccontextmanager
    async def begun(self, phase: Phase, tenants: Sequence[Left]) -> AsyncIterator[str]:
        """Have tenants migrated meanwhile; yield the operation."""
        # Of a kind of its own, which no other process takes up.
        kind = f"migration-{uuid.uuid4().hex[:8]}"
        operations = Operations(self._manager.find(Catalog), in_flight_max=1, silent_s=15)
        operations.handle(kind, self.migrations.run)
        await operations.open()
        try:
            asked = await operations.submit(kind, None, self.parameters(phase, tenants))
            yield str(asked.operation_id)
        finally:
            await operations.close()

    async def migrate(
        self, manager: httpx.AsyncClient, phase: Phase, tenants: Sequence[Left]
    ) -> dict[str, Any]:
        """Have tenants migrated; give the operation as it ended."""
        async with self.begun(phase, tenants) as operation_id:
            return await operation_ended(manager, operation_id)


@pytest.fixture
def next_release(installation: Installation, settings: Settings, app: FastAPI) -> NextRelease:
    return NextRelease(installation, settings, app)


async def asked(manager: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    answer = await manager.post("/v1/migrations", json=body)
    return await request_ended(manager, answer)


async def entry(manager: httpx.AsyncClient, tenant_id: str) -> dict[str, Any]:
    """What the list says of a tenant."""
    cursor: dict[str, str] = {}
    while True:
        page = (await manager.get("/v1/migrations", params={"limit": 1000, **cursor})).json()
        for one in page["data"]:
            if one["tenant_id"] == tenant_id:
                found: dict[str, Any] = one
                return found
        cursor = {"cursor": page["next_cursor"]}


async def test_a_tenant_of_an_earlier_release_becomes_like_a_new_one(
    manager: httpx.AsyncClient, behind: EarlierRelease, installation: Installation, app: FastAPI
) -> None:
    (left,) = await behind.leave(1)
    before = await entry(manager, left.tenant_id)
    assert (before["schema_version"], before["status"], before["due"]) == (0, "behind", "before")
    ended = await asked(manager, {"phase": "after", "tenants": [left.tenant_id]})
    assert (ended["status"], ended["progress"]) == ("succeeded", 1)
    assert ended["result"] == {"phase": "after", "ledger_version": LEDGER_VERSION, "tenants": 1}
    after = await entry(manager, left.tenant_id)
    assert (after["schema_version"], after["status"], after["due"]) == (
        LEDGER_VERSION,
        "current",
        None,
    )
    assert (after["attempts"], after["error"]) == (1, None)
    new = await database_of(manager, await make_tenant(manager))
    assert await described(installation, left.database) == await described(installation, new)
    for service in ("ingest", "backup"):
        home = await home_of(components_of(app), left.tenant_id, service)
        async with connected(home) as connection:
            assert (await client.head(connection)).seq == 0


async def test_the_first_few_go_first_and_then_the_others(installation: Installation) -> None:
    # On a catalog of its own: all tenants are to be migrated, and only these.
    settings = installation.settings()
    async with running(settings) as app, client_of(app) as manager:
        await first_few_and_then_all(manager, earlier_release(installation, settings, None))


async def first_few_and_then_all(manager: httpx.AsyncClient, earlier: EarlierRelease) -> None:
    lefts = await earlier.leave(5)
    canaries = [left.tenant_id for left in lefts[:2]]
    ended = await asked(manager, {"tenants": canaries})
    assert ended["result"]["tenants"] == 2
    statuses = [(await entry(manager, left.tenant_id))["status"] for left in lefts]
    assert statuses == ["current"] * 2 + ["behind"] * 3
    overview = (await manager.get("/v1/migrations", params={"status": "behind"})).json()
    assert [one["tenant_id"] for one in overview["data"]] == [left.tenant_id for left in lefts[2:]]
    assert (overview["statuses"]["behind"], overview["statuses"]["current"]) == (3, 2)
    assert overview["versions"] == [
        {"schema_version": 0, "tenants": 3},
        {"schema_version": LEDGER_VERSION, "tenants": 2},
    ]
    ended = await asked(manager, {})
    assert ended["status"] == "succeeded"
    assert ended["result"]["tenants"] == 5
    overview = (await manager.get("/v1/migrations")).json()
    assert (overview["statuses"]["behind"], overview["statuses"]["current"]) == (0, 5)
    assert overview["versions"] == [{"schema_version": LEDGER_VERSION, "tenants": 5}]


async def test_a_failing_tenant_stops_no_other_and_is_reported(
    manager: httpx.AsyncClient,
    earlier: EarlierRelease,
    installation: Installation,
    next_release: NextRelease,
) -> None:
    lefts = await earlier.leave(4)
    failing = lefts[1]
    async with installation.superuser(failing.database) as superuser:
        await superuser.execute(f"SET ROLE {failing.database}_owner")
        await superuser.execute("CREATE TABLE ledger.colours (x text)")
        await superuser.execute("INSERT INTO ledger.colours VALUES ('canary-of-the-tenant')")
    ended = await next_release.migrate(manager, "before", lefts)
    assert ended["status"] == "failed"
    assert "1 of 4 tenants" in ended["message"]
    assert failing.tenant_id in ended["message"]
    for left in lefts:
        shown = await entry(manager, left.tenant_id)
        if left is failing:
            # What could be done was, and stays.
            assert (shown["schema_version"], shown["status"]) == (LEDGER_VERSION, "failed")
            assert "colours" in shown["error"]
            assert f"migration {LEDGER_VERSION + 1}" in shown["error"]
            assert shown["attempts"] == 1
        else:
            assert (shown["schema_version"], shown["status"]) == (LEDGER_VERSION + 1, "current")
    listed = (await manager.get("/v1/migrations", params={"status": "failed"})).json()
    assert [one["tenant_id"] for one in listed["data"]] == [failing.tenant_id]
    async with installation.superuser(failing.database) as superuser:
        await superuser.execute("DROP TABLE ledger.colours")
    ended = await next_release.migrate(manager, "before", lefts)
    assert ended["status"] == "succeeded"
    assert (await entry(manager, failing.tenant_id))["schema_version"] == LEDGER_VERSION + 1


async def test_a_lock_held_briefly_delays_only_its_tenant(
    manager: httpx.AsyncClient,
    earlier: EarlierRelease,
    installation: Installation,
    settings: Settings,
    app: FastAPI,
) -> None:
    lefts = await earlier.leave(4)
    # On a busy machine the others take longer than a few attempts.
    patient = NextRelease(installation, settings, app, attempts_max=1_000)
    async with installation.superuser(lefts[0].database) as superuser:
        holding = superuser.transaction()
        await holding.start()
        await superuser.execute("LOCK TABLE ledger.ledger_head IN ACCESS SHARE MODE")
        async with patient.begun("before", lefts) as operation_id:

            async def others_are_done() -> bool:
                shown = [await entry(manager, left.tenant_id) for left in lefts]
                return [one["status"] for one in shown] == ["waiting"] + ["current"] * 3 and (
                    shown[0]["error"] is not None
                )

            await eventually(others_are_done, "the others are migrated", every_s=0.02)
            assert "lock timeout" in (await entry(manager, lefts[0].tenant_id))["error"]
            await holding.rollback()
            over = await operation_ended(manager, operation_id)
    assert over["status"] == "succeeded"
    shown = await entry(manager, lefts[0].tenant_id)
    assert (shown["schema_version"], shown["error"]) == (LEDGER_VERSION + 1, None)
    assert shown["attempts"] > 1


async def test_a_lock_never_released_fails_the_migration(
    manager: httpx.AsyncClient,
    earlier: EarlierRelease,
    installation: Installation,
    settings: Settings,
    app: FastAPI,
) -> None:
    lefts = await earlier.leave(2)
    impatient = NextRelease(installation, settings, app, attempts_max=2)
    async with installation.superuser(lefts[0].database) as superuser, superuser.transaction():
        await superuser.execute("LOCK TABLE ledger.ledger_head IN ACCESS SHARE MODE")
        over = await impatient.migrate(manager, "before", lefts)
    assert over["status"] == "failed"
    shown = await entry(manager, lefts[0].tenant_id)
    assert (shown["status"], shown["attempts"]) == ("failed", 2)
    assert (await entry(manager, lefts[1].tenant_id))["status"] == "current"


async def test_a_customers_locks_do_not_stop_a_migration(
    manager: httpx.AsyncClient, earlier: EarlierRelease, app: FastAPI, next_release: NextRelease
) -> None:
    (left,) = await earlier.leave(1)
    home = await home_of(components_of(app), left.tenant_id, "auditor")
    holding = asyncio.Event()

    async def hold_again_and_again() -> None:
        while True:
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                async with connected(home) as customer:
                    await customer.execute("BEGIN; LOCK TABLE ledger_head IN ACCESS SHARE MODE")
                    holding.set()
                    await customer.execute("SELECT pg_sleep(600)")
            await asyncio.sleep(0.01)

    hostile = asyncio.create_task(hold_again_and_again())
    try:
        await holding.wait()
        over = await next_release.migrate(manager, "before", [left])
        assert over["status"] == "succeeded"
        shown = await entry(manager, left.tenant_id)
        assert (shown["schema_version"], shown["attempts"]) == (LEDGER_VERSION + 1, 1)
    finally:
        hostile.cancel()
        await asyncio.gather(hostile, return_exceptions=True)
    async with connected(home) as customer:
        assert await customer.fetchval("SELECT last_seq FROM ledger_head") == 0


async def test_services_refuse_a_tenant_whose_ledger_lacks_what_they_need(
    manager: httpx.AsyncClient,
    earlier: EarlierRelease,
    installation: Installation,
    settings: Settings,
    next_release: NextRelease,
) -> None:
    (left,) = await earlier.leave(1)
    async with installation.directory(settings, "query") as directory:

        async def home() -> Home:
            home = await directory.home(left.tenant_id)
            assert home
            return home

        async def fits() -> bool:
            try:
                (await home()).require_known_version()
            except DomainError as error:
                return not isinstance(error, LedgerVersionUnsupported)
            return True

        async def is_turned_away() -> bool:
            return not await fits()

        assert await fits()
        await next_release.migrate(manager, "before", [left])
        # This release knows nothing of what was added, and goes on without it.
        await eventually(fits, "the ledger is served")
        assert (await home()).schema_version == LEDGER_VERSION + 1
        await next_release.migrate(manager, "after", [left])
        await eventually(is_turned_away, "the ledger is served by the next release only")
        assert (await home()).services_version_min == LEDGER_VERSION + 2


async def test_no_right_is_missing_or_too_much_at_any_moment(
    manager: httpx.AsyncClient,
    earlier: EarlierRelease,
    installation: Installation,
    settings: Settings,
    app: FastAPI,
) -> None:
    """The last migration waits for a lock: what those before it made is there for all to see."""
    (left,) = await earlier.leave(1)
    anew = Migration(
        LEDGER_VERSION + 1,
        "head_anew",
        "ALTER FUNCTION head() RENAME TO head_of_old;"
        "CREATE FUNCTION head(OUT last_seq bigint, OUT last_event_id uuid, OUT last_hash bytea,"
        " OUT last_recorded_at timestamptz) LANGUAGE sql SECURITY DEFINER"
        " SET search_path FROM CURRENT AS 'SELECT * FROM head_of_old()';"
        "CREATE FUNCTION of_owners_only() RETURNS integer LANGUAGE sql AS 'SELECT 1';",
    )
    waits = Migration(LEDGER_VERSION + 2, "waits", "LOCK TABLE ledger_head;")
    release = NextRelease(
        installation,
        settings,
        app,
        replace(LEDGER_SOURCE, migrations=(*LEDGER_SOURCE.migrations, anew, waits)),
    )
    await NextRelease(installation, settings, app, LEDGER_SOURCE).migrate(manager, "before", [left])
    async with installation.superuser(left.database) as superuser:
        holding = superuser.transaction()
        await holding.start()
        await superuser.execute("LOCK TABLE ledger.ledger_head IN ACCESS SHARE MODE")
        async with release.begun("before", [left]) as operation_id:

            async def made() -> bool:
                return bool(
                    await superuser.fetchval(
                        "SELECT EXISTS (SELECT FROM pg_proc WHERE proname = 'head_of_old')"
                    )
                )

            await eventually(made, "the first migration is there", every_s=0.01)
            async with connected(
                await home_of(components_of(app), left.tenant_id, "ingest")
            ) as ingest:
                assert (await client.head(ingest)).seq == 0
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await ingest.fetchval("SELECT of_owners_only()")
            await holding.rollback()
            assert (await operation_ended(manager, operation_id))["status"] == "succeeded"


async def test_a_busy_tenant_is_migrated_later(
    manager: httpx.AsyncClient, earlier: EarlierRelease, next_release: NextRelease, app: FastAPI
) -> None:
    lefts = await earlier.leave(2)
    catalog = components_of(app).find(Catalog)
    await catalog.execute(
        "INSERT INTO operations (operation_id, kind, tenant_id, parameters, status, leased_until)"
        " VALUES ($1, 'of-nobody', $2, '{}', 'running', 'infinity')",
        uuid.uuid4(),
        lefts[0].tenant_id,
    )
    async with next_release.begun("before", lefts) as operation_id:

        async def waits() -> bool:
            shown = await entry(manager, lefts[0].tenant_id)
            return shown["status"] == "waiting" and shown["error"] is not None

        await eventually(waits, "the tenant waits", every_s=0.02)
        await catalog.execute("UPDATE operations SET status = 'failed' WHERE kind = 'of-nobody'")
        assert (await operation_ended(manager, operation_id))["status"] == "succeeded"
    # Nothing was tried in vain.
    assert (await entry(manager, lefts[0].tenant_id))["attempts"] == 1


async def test_a_resumed_migration_does_what_is_left(
    manager: httpx.AsyncClient, earlier: EarlierRelease, next_release: NextRelease, app: FastAPI
) -> None:
    lefts = await earlier.leave(12)
    kind = f"migration-{uuid.uuid4().hex[:8]}"
    parameters = next_release.parameters("before", lefts)
    operation_id = ""
    done: list[int] = []

    async def migrated() -> int:
        shown = [await entry(manager, left.tenant_id) for left in lefts]
        return sum(one["schema_version"] == LEDGER_VERSION + 1 for one in shown)

    for at_least in (1, 5, 12):
        operations = Operations(components_of(app).find(Catalog), in_flight_max=1, silent_s=15)
        operations.handle(kind, next_release.migrations.run)
        await operations.open()
        asked = await operations.submit(kind, None, parameters)
        assert operation_id in {"", str(asked.operation_id)}
        operation_id = str(asked.operation_id)

        async def far_enough(at_least: int = at_least) -> bool:
            return await migrated() >= at_least

        await eventually(far_enough, f"{at_least} are migrated", every_s=0.01)
        if at_least == 12:
            assert (await operation_ended(manager, operation_id))["status"] == "succeeded"
        # Stopped in the middle of its work.
        await operations.close()
        done.append(await migrated())
    assert done[0] < 12
    assert done[-1] == 12


async def test_a_release_does_not_run_another_releases_migration(
    manager: httpx.AsyncClient, behind: EarlierRelease, next_release: NextRelease, app: FastAPI
) -> None:
    (left,) = await behind.leave(1)
    parameters = next_release.parameters("before", [left])
    # As the next release's tenant-manager would write it down; this one takes it up.
    taken_up = await components_of(app).find(Operations).submit("migration", None, parameters)
    over = await operation_ended(manager, taken_up.operation_id)
    assert over["status"] == "failed"
    assert f"version {LEDGER_VERSION} " in over["message"]
    assert (await entry(manager, left.tenant_id))["status"] == "behind"
    assert (await asked(manager, {"tenants": [left.tenant_id]}))["status"] == "succeeded"


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ({"phase": "during"}, ["/phase"]),
        ({"tenants": []}, ["/tenants"]),
        ({"tenants": ["no-such-tenant", "another"]}, ["/tenants/0", "/tenants/1"]),
        ({"tenants": ["acme", "acme"]}, ["/tenants"]),
        ({"tenants": ["Not an id"]}, ["/tenants/0"]),
        ({"tenant": "acme"}, ["/tenant"]),
    ],
)
async def test_what_cannot_be_migrated_is_refused(
    manager: httpx.AsyncClient, body: dict[str, Any], places: list[str]
) -> None:
    answer = await manager.post("/v1/migrations", json=body)
    assert pointers(answer) == places


async def test_tenants_are_listed_page_by_page(
    manager: httpx.AsyncClient, behind: EarlierRelease
) -> None:
    lefts = await behind.leave(3)
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        answer = await manager.get(
            "/v1/migrations", params={"limit": 2, "status": "behind", **cursor}
        )
        page = answer.json()
        seen += [one["tenant_id"] for one in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == sorted(seen)
    assert {left.tenant_id for left in lefts} <= set(seen)
    # A cursor belongs to its own filter.
    answer = await manager.get("/v1/migrations", params={"status": "current", **cursor})
    assert answer.status_code == 422


async def described(installation: Installation, database: str) -> list[tuple[str, ...]]:
    """Every object with its owner and rights, and every role, the tenant's own name left out.

    Functions with all that they are: their names, arguments, sources, settings and comments.
    """
    async with installation.superuser(database) as superuser:
        rows = await superuser.fetch(
            """
            SELECT 'relation', c.relname::text, c.relowner::regrole::text,
                array_to_string(array(SELECT unnest(c.relacl)::text ORDER BY 1), ' ')
            FROM pg_class AS c
            WHERE c.relnamespace = 'ledger'::regnamespace AND c.relkind IN ('r', 'p', 'v')
            UNION ALL
            SELECT 'function', p.oid::regprocedure::text, p.proowner::regrole::text,
                array_to_string(array(SELECT unnest(p.proacl)::text ORDER BY 1), ' ')
            FROM pg_proc AS p WHERE p.pronamespace = 'ledger'::regnamespace
            UNION ALL
            SELECT 'source', p.oid::regprocedure::text,
                concat(pg_get_function_arguments(p.oid), pg_get_function_result(p.oid), p.prosrc),
                concat(p.proconfig, p.prosecdef, p.provolatile, p.proparallel,
                    obj_description(p.oid, 'pg_proc'))
            FROM pg_proc AS p WHERE p.pronamespace = 'ledger'::regnamespace
            UNION ALL
            SELECT 'database', '', d.datdba::regrole::text,
                array_to_string(array(SELECT unnest(d.datacl)::text ORDER BY 1), ' ')
            FROM pg_database AS d WHERE d.datname = current_database()
            UNION ALL
            SELECT 'role', r.rolname::text, r.rolcanlogin::text, r.rolconnlimit::text
            FROM pg_roles AS r WHERE starts_with(r.rolname, current_database() || '_')
            UNION ALL
            SELECT 'member', m.roleid::regrole::text, m.member::regrole::text, ''
            FROM pg_auth_members AS m
            WHERE starts_with(m.roleid::regrole::text, current_database() || '_')
            """
        )
    return sorted(tuple(str(value).replace(database, "fh") for value in row) for row in rows)
