"""Ledgers of earlier releases, brought up to date: each whole, each by itself, whatever happens."""

import secrets
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from freehold.contracts.migrations import Phase
from freehold.contracts.problems import LEDGER_VERSION_UNSUPPORTED, Problem
from freehold.ledger import client
from freehold.ledger.schema import LEDGER_MIGRATIONS, LEDGER_VERSION, Migration
from freehold.security.sealing import KeyRing
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.directory import Directory
from freehold.tenancy.homes import Home
from freehold_tenant_manager.catalog.credentials import find_home
from freehold_tenant_manager.migration.ledger_migration import LedgerMigration
from freehold_tenant_manager.migration.migrations import Migrations
from freehold_tenant_manager.operations import Operations
from freehold_tenant_manager.server import Server
from freehold_tenant_manager.settings import Settings
from integration.tenant_manager.installation import (
    CREDENTIAL_KEYS,
    Installation,
    client_of,
    connected,
    manager_of,
    new_tenant,
    running,
    service_password,
)
from support.releases import EarlierRelease, Left
from support.waiting import eventually

FIRST_RELEASE = 5
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
NEXT_RELEASE = [*LEDGER_MIGRATIONS, ADDS, TAKES_AWAY]


@pytest.fixture
def earlier(installation: Installation, settings: Settings, app: FastAPI) -> EarlierRelease:
    return earlier_release(installation, settings)


def earlier_release(installation: Installation, settings: Settings) -> EarlierRelease:
    """The first release, which gave tenants no role for backups."""
    return EarlierRelease(
        installation.server_url,
        settings.catalog_name,
        installation.role,
        KeyRing(CREDENTIAL_KEYS),
        FIRST_RELEASE,
    )


class NextRelease:
    """A tenant-manager that knows further migrations, on the catalog of this one."""

    def __init__(
        self,
        installation: Installation,
        settings: Settings,
        app: FastAPI,
        migrations: Sequence[Migration] = NEXT_RELEASE,
        *,
        attempts_max: int = 8,
    ) -> None:
        server = Server(
            settings.catalog_dsn.get_secret_value(), connect_timeout_s=5, statement_timeout_s=30
        )
        self._manager = manager_of(app)
        self.ledgers = LedgerMigration(
            server,
            KeyRing(CREDENTIAL_KEYS),
            lock_timeout_s=LOCK_TIMEOUT_S,
            timeout_s=30,
            migrations=migrations,
        )
        self.migrations = Migrations(
            server,
            self.ledgers,
            catalog_name=settings.catalog_name,
            in_flight_max=3,
            attempts_max=attempts_max,
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
        operations = Operations(self._manager.parts.catalog, in_flight_max=1, silent_s=15)
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
            return await ended(manager, operation_id)


@pytest.fixture
def next_release(installation: Installation, settings: Settings, app: FastAPI) -> NextRelease:
    return NextRelease(installation, settings, app)


async def ended(manager: httpx.AsyncClient, operation_id: str) -> dict[str, Any]:
    async def over() -> dict[str, Any] | None:
        shown: dict[str, Any] = (await manager.get(f"/v1/operations/{operation_id}")).json()
        return shown if shown["status"] in {"succeeded", "failed"} else None

    return await eventually(over, "the operation has ended", within_s=20)


async def asked(manager: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    answer = await manager.post("/v1/migrations", json=body)
    assert answer.status_code == 202, answer.text
    return await ended(manager, answer.json()["operation_id"])


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


async def test_a_tenant_of_the_first_release_becomes_like_a_new_one(
    manager: httpx.AsyncClient, earlier: EarlierRelease, installation: Installation, app: FastAPI
) -> None:
    (left,) = await earlier.leave(1)
    before = await entry(manager, left.tenant_id)
    assert (before["schema_version"], before["status"], before["due"]) == (
        FIRST_RELEASE,
        "behind",
        "before",
    )
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
    wanted = new_tenant()
    new = (await manager.post("/v1/tenants", json=wanted)).json()["tenant"]["home"]["database"]
    assert await described(installation, left.database) == await described(installation, new)
    for service in ("ingest", "backup"):
        home = await home_of(app, left, service)
        async with connected(home) as connection:
            assert (await client.head(connection)).seq == 0


async def test_the_first_few_go_first_and_then_the_others(installation: Installation) -> None:
    # On a catalog of its own: all tenants are to be migrated, and only these.
    settings = installation.settings(f"freehold_test_catalog_{secrets.token_hex(6)}")
    async with running(settings) as app, client_of(app) as manager:
        await first_few_and_then_all(manager, earlier_release(installation, settings))


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
        {"schema_version": FIRST_RELEASE, "tenants": 3},
        {"schema_version": LEDGER_VERSION, "tenants": 2},
    ]
    ended = await asked(manager, {})
    assert ended["status"] == "succeeded"
    assert ended["result"]["tenants"] == 5
    overview = (await manager.get("/v1/migrations")).json()
    assert (overview["statuses"]["behind"], overview["statuses"]["current"]) == (0, 5)
    assert overview["versions"] == [{"schema_version": LEDGER_VERSION, "tenants": 5}]


async def test_one_that_fails_neither_stops_the_others_nor_is_passed_over(
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
            assert (shown["schema_version"], shown["status"]) == (FIRST_RELEASE, "failed")
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


async def test_a_lock_held_for_a_while_is_waited_for_by_that_tenant_alone(
    manager: httpx.AsyncClient,
    earlier: EarlierRelease,
    installation: Installation,
    next_release: NextRelease,
) -> None:
    lefts = await earlier.leave(4)
    async with installation.superuser(lefts[0].database) as superuser:
        holding = superuser.transaction()
        await holding.start()
        await superuser.execute("LOCK TABLE ledger.ledger_head IN ACCESS SHARE MODE")
        async with next_release.begun("before", lefts) as operation_id:

            async def others_are_done() -> bool:
                shown = [await entry(manager, left.tenant_id) for left in lefts]
                return [one["status"] for one in shown] == ["waiting"] + ["current"] * 3 and (
                    shown[0]["error"] is not None
                )

            await eventually(others_are_done, "the others are migrated", every_s=0.02)
            assert "lock timeout" in (await entry(manager, lefts[0].tenant_id))["error"]
            await holding.rollback()
            over = await ended(manager, operation_id)
    assert over["status"] == "succeeded"
    shown = await entry(manager, lefts[0].tenant_id)
    assert (shown["schema_version"], shown["error"]) == (LEDGER_VERSION + 1, None)
    assert shown["attempts"] > 1


async def test_a_lock_held_for_good_fails_in_the_end(
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


async def test_what_is_taken_away_turns_services_away_that_still_need_it(
    manager: httpx.AsyncClient,
    earlier: EarlierRelease,
    installation: Installation,
    settings: Settings,
    next_release: NextRelease,
) -> None:
    (left,) = await earlier.leave(1)
    dsn = installation.url(settings.catalog_name, "freehold_query", service_password("query"))
    catalog = Catalog(dsn, application="test", timeout_s=5)
    directory = Directory(catalog, KeyRing(CREDENTIAL_KEYS))
    await catalog.open(directory.changed)
    try:

        async def home() -> Home:
            home = await directory.home(left.tenant_id)
            assert home
            return home

        async def fits() -> bool:
            try:
                (await home()).require_known_version()
            except Problem as problem:
                return problem.kind is not LEDGER_VERSION_UNSUPPORTED
            return True

        async def is_turned_away() -> bool:
            return not await fits()

        assert not await fits()
        await next_release.migrate(manager, "before", [left])
        # This release knows nothing of what was added, and goes on without it.
        await eventually(fits, "the ledger is served")
        assert (await home()).schema_version == LEDGER_VERSION + 1
        await next_release.migrate(manager, "after", [left])
        await eventually(is_turned_away, "the ledger is served by the next release only")
        assert (await home()).services_version_min == LEDGER_VERSION + 2
    finally:
        await catalog.close()


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
        "CREATE FUNCTION head(OUT seq bigint, OUT event_id uuid, OUT hash bytea,"
        " OUT recorded_at timestamptz) LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT"
        " AS 'SELECT * FROM head_of_old()';"
        "CREATE FUNCTION of_owners_only() RETURNS integer LANGUAGE sql AS 'SELECT 1';",
    )
    waits = Migration(LEDGER_VERSION + 2, "waits", "LOCK TABLE ledger_head;")
    release = NextRelease(installation, settings, app, [*LEDGER_MIGRATIONS, anew, waits])
    await NextRelease(installation, settings, app, LEDGER_MIGRATIONS).migrate(
        manager, "before", [left]
    )
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

            await eventually(made, "the first migration is there", within_s=10, every_s=0.01)
            async with connected(await home_of(app, left, "ingest")) as ingest:
                assert (await client.head(ingest)).seq == 0
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await ingest.fetchval("SELECT of_owners_only()")
            await holding.rollback()
            assert (await ended(manager, operation_id))["status"] == "succeeded"


async def test_a_tenant_that_is_being_worked_on_has_their_turn_later(
    manager: httpx.AsyncClient, earlier: EarlierRelease, next_release: NextRelease, app: FastAPI
) -> None:
    lefts = await earlier.leave(2)
    catalog = manager_of(app).parts.catalog
    await catalog.execute(
        "INSERT INTO operations (operation_id, kind, tenant_id, parameters, status, seen_at)"
        " VALUES ($1, 'of-nobody', $2, '{}', 'running', now())",
        uuid.uuid4(),
        lefts[0].tenant_id,
    )
    async with next_release.begun("before", lefts) as operation_id:

        async def waits() -> bool:
            shown = await entry(manager, lefts[0].tenant_id)
            return shown["status"] == "waiting" and shown["error"] is not None

        await eventually(waits, "the tenant waits", every_s=0.02)
        await catalog.execute("UPDATE operations SET status = 'failed' WHERE kind = 'of-nobody'")
        assert (await ended(manager, operation_id))["status"] == "succeeded"
    # Nothing was tried in vain.
    assert (await entry(manager, lefts[0].tenant_id))["attempts"] == 1


async def test_whoever_goes_on_does_what_is_left(
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
        operations = Operations(manager_of(app).parts.catalog, in_flight_max=1, silent_s=15)
        operations.handle(kind, next_release.migrations.run)
        await operations.open()
        asked = await operations.submit(kind, None, parameters)
        assert operation_id in {"", str(asked.operation_id)}
        operation_id = str(asked.operation_id)

        async def far_enough(at_least: int = at_least) -> bool:
            return await migrated() >= at_least

        await eventually(far_enough, f"{at_least} are migrated", every_s=0.01)
        if at_least == 12:
            assert (await ended(manager, operation_id))["status"] == "succeeded"
        # Stopped in the middle of its work.
        await operations.close()
        done.append(await migrated())
    assert done[0] < 12
    assert done[-1] == 12


async def test_a_release_does_not_do_what_another_was_asked_for(
    manager: httpx.AsyncClient, earlier: EarlierRelease, next_release: NextRelease, app: FastAPI
) -> None:
    (left,) = await earlier.leave(1)
    parameters = next_release.parameters("before", [left])
    # As the next release's tenant-manager would write it down; this one takes it up.
    taken_up = await manager_of(app).parts.operations.submit("migration", None, parameters)
    over = await ended(manager, str(taken_up.operation_id))
    assert over["status"] == "failed"
    assert f"version {LEDGER_VERSION} " in over["message"]
    assert (await entry(manager, left.tenant_id))["status"] == "behind"
    assert (await asked(manager, {"tenants": [left.tenant_id]}))["status"] == "succeeded"


@pytest.mark.parametrize(
    ("body", "pointers"),
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
    manager: httpx.AsyncClient, body: dict[str, Any], pointers: list[str]
) -> None:
    answer = await manager.post("/v1/migrations", json=body)
    assert answer.status_code == 422, answer.text
    assert [fault["pointer"] for fault in answer.json()["errors"]] == pointers


async def test_tenants_are_listed_page_by_page(
    manager: httpx.AsyncClient, earlier: EarlierRelease
) -> None:
    lefts = await earlier.leave(3)
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


async def home_of(app: FastAPI, left: Left, service: str) -> Home:
    async with manager_of(app).parts.catalog.connection() as connection:
        home = await find_home(connection, KeyRing(CREDENTIAL_KEYS), left.tenant_id, service)
    assert home
    return home


async def described(installation: Installation, database: str) -> list[tuple[str, ...]]:
    """Every object with its owner and rights, and every role, the tenant's own name left out."""
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
