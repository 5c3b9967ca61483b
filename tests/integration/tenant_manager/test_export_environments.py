"""An export proves the same wherever it is restored, or it is refused before anything is there."""

import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from freehold.ledger import client
from freehold.ledger.client import SESSION_SETTINGS, Connection, Head
from freehold.ledger.schema import LEDGER_VERSION
from freehold.tenants.catalog import Catalog
from freehold.tenants.connections import TenantConnections
from freehold.tenants.homes import Home
from freehold_tenant_manager.dumps.dumps import Dumps, Form
from freehold_tenant_manager.server.server import Server
from support.builders import append, append_request, new_event, new_hold
from support.chain import Row, canonical_metadata, find_fault, read_copy
from support.ledgers import Ledgers
from support.restoration import run
from support.streams import collect

PASSWORD = secrets.token_hex(8)
UTF8 = "ENCODING 'UTF8' LOCALE_PROVIDER libc LOCALE 'C'"
ODD_COLLATION = (
    "ENCODING 'UTF8' LOCALE_PROVIDER icu LOCALE 'C'"
    " ICU_LOCALE 'tr-u-kf-upper-kn-true-ka-shifted-ks-level1'"
)
COMMON = {"±": "§", "°": "÷", "§": '"\\', "ab": "1", "abc": "2"}
"""Metadata that many encodings have, and each with keys of other lengths and in another order."""
WIDE = COMMON | {"😀": "e\u0301", "키": "\u202e", "\uffee": "Ω", "abcd": "😀"}
"""Metadata that only UTF8 has all of."""
ODD_SETTINGS = {
    "timezone": "'FOO+13:37'",
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "search_path": "nowhere",
    "client_encoding": "LATIN1",
    "default_transaction_isolation": "serializable",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "quote_all_identifiers": "on",
    "row_security": "off",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
}


@dataclass(frozen=True, slots=True)
class Export:
    """A ledger's files, and where it ended when they were written."""

    files: dict[Form, Path]
    head: Head


@dataclass(frozen=True, slots=True)
class Customer:
    """A role that owns databases of its own and rules nothing else."""

    name: str
    server_url: str

    @asynccontextmanager
    async def database(self, made: str, settings: dict[str, str]) -> AsyncIterator[str]:
        """Have an empty database for a while; yields the way into it."""
        name = f"freehold_test_{secrets.token_hex(6)}"
        server = await asyncpg.connect(self.server_url)
        try:
            await server.execute(
                f"CREATE DATABASE {name} OWNER {self.name} TEMPLATE template0 {made}"
            )
            await _set(server, name, settings)
            parts = urlsplit(self.server_url)
            place = f"{self.name}:{PASSWORD}@{parts.hostname}:{parts.port}"
            yield parts._replace(netloc=place, path=f"/{name}").geturl()
        finally:
            await server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            await server.close()


async def _set(connection: Connection, database: str, settings: dict[str, str]) -> None:
    for setting, value in settings.items():
        await connection.execute(f"ALTER DATABASE {database} SET {setting} TO {value}")


@pytest.fixture(scope="module")
async def customer(postgres_url: str) -> AsyncIterator[Customer]:
    name = f"freehold_test_{secrets.token_hex(4)}"
    server = await asyncpg.connect(postgres_url)
    await server.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    yield Customer(name, postgres_url)
    await server.execute(f"DROP ROLE {name}")
    await server.close()


@pytest.fixture(scope="module")
async def common(ledgers: Ledgers, tmp_path_factory: pytest.TempPathFactory) -> Export:
    return await _exported(ledgers, COMMON, tmp_path_factory.mktemp("common"))


@pytest.fixture(scope="module")
async def wide(ledgers: Ledgers, tmp_path_factory: pytest.TempPathFactory) -> Export:
    return await _exported(ledgers, WIDE, tmp_path_factory.mktemp("wide"))


async def _exported(ledgers: Ledgers, metadata: dict[str, str], folder: Path) -> Export:
    async with ledgers.fresh() as ledger, ledger.connection() as connection:
        events = [new_event(f"cus_{n % 5}", n, external_id=f"x{n}") for n in range(1, 20)]
        await append(connection, [append_request(*events, new_event(metadata=metadata))])
        await append(connection, [append_request(new_hold(metadata=metadata))])
        await client.project(connection, 1_000)
        files: dict[Form, Path] = {"sql": folder / "export.sql", "custom": folder / "export.dump"}
        for form, file in files.items():
            file.write_bytes(await _dumped(ledger.url, form))
        return Export(files, await client.head(connection))


async def _dumped(url: str, form: Form) -> bytes:
    dumping = Dumps(timeout_s=60, bytes_per_s=2**30)
    async with _entered(url) as connection:
        version = connection.get_server_version().major
    async with dumping.dump(_home(url), form, server_version=version) as pieces:
        return await collect(pieces)


def _home(url: str) -> Home:
    parts = urlsplit(url)
    return Home(
        tenant_id="acme",
        epoch=1,
        host=parts.hostname or "",
        port=parts.port or 5432,
        database=parts.path[1:],
        schema="ledger",
        schema_version=LEDGER_VERSION,
        role=parts.username or "",
        password=parts.password or "",
    )


async def _psql(url: str, export: Export, *options: str) -> tuple[int, str]:
    return await run(
        url, "psql", "--no-psqlrc", "--quiet", *options, f"--file={export.files['sql']}"
    )


async def _pg_restore(url: str, export: Export, *options: str) -> tuple[int, str]:
    file = export.files["custom"]
    return await run(url, "pg_restore", "--no-owner", *options, f"--dbname={url}", str(file))


@asynccontextmanager
async def _entered(url: str) -> AsyncIterator[Connection]:
    """Have a session that is set to what the database says, but for where names are looked up."""
    connection = await asyncpg.connect(url, server_settings={"search_path": "ledger"})
    try:
        yield connection
    finally:
        await connection.close()


async def _assert_lives_on(url: str, export: Export) -> None:
    """The ledger is the one that was exported, and continues: its owner appends and projects."""
    async with _entered(url) as connection:
        verification = await client.verify(connection)
        assert verification.reason is None
        assert await client.head(connection) == export.head
        assert await client.reconcile(connection) == []
        await append(
            connection, [append_request(new_event("cus_new", metadata={"b": "1", "a": "2"}))]
        )
        await append(
            connection, [append_request(new_event("cus_new", metadata={"°": "±", "zz": "1"}))]
        )
        assert (await client.project(connection, 1_000)).applied == 2
        assert (await client.verify(connection)).ok
        listed = await client.list_balances(connection, client.BalanceFilters("cus_n"), rows_max=10)
        assert [row["account_id"] for row in listed] == ["cus_new"]
        assert await connection.fetchval("SELECT make_partitions(now() + interval '3 years')") > 1
        assert await connection.fetchval("SELECT make_earlier_partitions('2020-01-01 12:00Z')") > 1
        # With code that asks no database.
        head = await client.head(connection)
        assert find_fault(await _told(connection), head.seq, head.hash) is None


async def _told(connection: Connection) -> list[Row]:
    """Give the events as COPY writes them for who reads UTF-8, and metadata as the proof has it."""
    await connection.execute("SET datestyle = ISO; SET bytea_output = hex")
    target = BytesIO()
    await connection.copy_from_query(
        "SELECT * FROM ledger_events ORDER BY event_id",
        output=target,
        format="text",
        header=True,
        encoding="UTF8",
    )
    rows = read_copy(target.getvalue())
    return [
        row | {"metadata": canonical_metadata(json.loads(row["metadata"] or ""))} for row in rows
    ]


@pytest.mark.parametrize(
    ("encoding", "options"),
    [
        ("SQL_ASCII", []),
        ("EUC_KR", ["--set=ON_ERROR_STOP=1"]),
        ("LATIN1", ["--set=ON_ERROR_STOP=0"]),
        ("LATIN1", ["--single-transaction"]),
    ],
)
async def test_a_database_of_another_encoding_refuses_the_sql_file_at_once(
    customer: Customer, common: Export, encoding: str, options: list[str]
) -> None:
    async with customer.database(f"ENCODING '{encoding}' LOCALE 'C'", {}) as url:
        status, said = await _psql(url, common, *options)
        assert status == 3
        assert f"nothing was restored: this database has the encoding {encoding}" in said
        assert "ENCODING 'UTF8'" in said
        assert said.count("ERROR") == 1
        async with _entered(url) as connection:
            assert await connection.fetchval("SELECT to_regnamespace('ledger') IS NULL")


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_KR"])
async def test_the_custom_file_proves_the_same_in_any_encoding_that_has_its_characters(
    customer: Customer, common: Export, encoding: str
) -> None:
    async with customer.database(f"ENCODING '{encoding}' LOCALE 'C'", {}) as url:
        assert await _pg_restore(url, common) == (0, "")
        await _assert_lives_on(url, common)


async def test_where_characters_are_lacking_the_proof_says_that_the_encoding_is_at_fault(
    customer: Customer, wide: Export
) -> None:
    async with customer.database("ENCODING 'LATIN1' LOCALE 'C'", {}) as url:
        status, said = await _pg_restore(url, wide)
        assert status == 1
        assert 'has no equivalent in encoding "LATIN1"' in said
        async with _entered(url) as connection:
            verification = await client.verify(connection)
            assert not verification.ok
            assert "encoding LATIN1 lacks characters" in str(verification.reason)
    # As the README has it: then nothing is left.
    async with customer.database("ENCODING 'LATIN1' LOCALE 'C'", {}) as url:
        status, _ = await _pg_restore(url, wide, "--single-transaction")
        assert status == 1
        async with _entered(url) as connection:
            assert await connection.fetchval("SELECT to_regnamespace('ledger') IS NULL")


@pytest.mark.parametrize("form", ["sql", "custom"])
@pytest.mark.parametrize(
    ("made", "settings"), [(UTF8, ODD_SETTINGS), (ODD_COLLATION, {})], ids=["settings", "icu"]
)
async def test_no_setting_and_no_collation_changes_the_proof(
    customer: Customer, wide: Export, form: Form, made: str, settings: dict[str, str]
) -> None:
    async with customer.database(made, settings) as url:
        status, said = await (_psql if form == "sql" else _pg_restore)(url, wide)
        assert status == 0, said
        await _assert_lives_on(url, wide)


async def test_a_second_export_is_not_mixed_with_the_first(
    customer: Customer, common: Export, wide: Export
) -> None:
    async with customer.database(UTF8, {}) as url:
        status, said = await _psql(url, wide)
        assert status == 0, said
        status, said = await _psql(url, common)
        assert status == 3
        assert said.count("ERROR") == 1
        assert 'schema "ledger" already exists' in said
        await _assert_lives_on(url, wide)


async def test_an_export_does_not_depend_on_its_databases_settings(
    customer: Customer, wide: Export
) -> None:
    async with customer.database(UTF8, {}) as url:
        status, said = await _psql(url, wide)
        assert status == 0, said
        before = await _dumped(url, "sql")
        async with _entered(url) as owner:
            # What quotes names quotes them in the texts of views, too, and changes nothing else.
            await _set(
                owner, urlsplit(url).path[1:], ODD_SETTINGS | {"quote_all_identifiers": "off"}
            )
        after = await _dumped(url, "sql")
    assert _without_tokens(before) == _without_tokens(after)


def _without_tokens(dump: bytes) -> list[bytes]:
    """Leave out the two lines that are other ones each time."""
    return [
        line for line in dump.splitlines() if not line.startswith((b"\\restrict", b"\\unrestrict"))
    ]


async def test_our_own_sessions_rely_on_no_setting_of_a_database(customer: Customer) -> None:
    async with customer.database(UTF8, ODD_SETTINGS) as url:
        found = []
        connections = TenantConnections(
            application="test", connections_max=1, per_tenant_max=1, idle_s=60, timeout_s=60
        )
        async with connections.use(_home(url)) as connection:
            found.append(await _settings(connection))
        await connections.close()
        catalog = Catalog(url, application="test", timeout_s=60)
        await catalog.open()
        async with catalog.connection() as connection:
            found.append(await _settings(connection))
        await catalog.close()
        server = Server(url, connect_timeout_s=60, statement_timeout_s=60)
        async with server.connection(urlsplit(url).path[1:]) as connection:
            found.append(await _settings(connection))
    for settings in found:
        # The order of days and months, which Postgres adds, is that of input that we do not write.
        assert settings.pop("datestyle").startswith("ISO, ")
        assert settings | {"datestyle": "ISO"} == SESSION_SETTINGS


async def _settings(connection: Connection) -> dict[str, str]:
    rows = await connection.fetch(
        "SELECT lower(name) AS name, setting FROM pg_settings WHERE lower(name) = ANY ($1::text[])",
        list(SESSION_SETTINGS),
    )
    return {row["name"]: row["setting"] for row in rows}
