"""The whole of Freehold on servers that speak TLS alone, whose certificates every client checks."""

import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from freehold.contracts.errors import Unavailable
from freehold.database.fitness import examine
from freehold.database.tls import Tls
from freehold.messaging import fitness as broker
from freehold.tenants.connections import TenantConnections
from freehold.tenants.homes import Home
from freehold_local.folders import discard
from freehold_local.installation import LOWEST_POSTGRES
from freehold_local.stack import Stack
from freehold_tenant_manager.dumps.dumps import DumpError, Dumps
from support.clients import Freehold, reaching
from support.stacks import addresses_of
from support.tls import Authority, TlsPostgres, TlsRabbitMQ

pytestmark = pytest.mark.local


@dataclass(frozen=True, slots=True)
class Servers:
    """Both servers, and the files of the authority that signed and of one that did not."""

    postgres: TlsPostgres
    rabbitmq: TlsRabbitMQ
    authority: Path
    other_authority: Path


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority()
    (folder / "other").mkdir()
    postgres = TlsPostgres(folder / "postgres", authority)
    rabbitmq = TlsRabbitMQ(folder / "rabbitmq", authority)
    try:
        postgres.start()
        rabbitmq.start()
        other = Authority("Another authority").write(folder / "other")
        yield Servers(postgres, rabbitmq, authority.write(folder), other)
    finally:
        for server in (rabbitmq, postgres):
            server.stop()
            discard(server.folder)


@pytest.fixture(scope="module")
async def secured(
    servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Freehold]:
    settings = {
        "FREEHOLD_POSTGRES_URL": servers.postgres.verified_url(servers.authority),
        "FREEHOLD_AMQP_URL": servers.rabbitmq.verified_url(servers.authority),
    }
    stack = Stack(tmp_path_factory.mktemp("secured") / "stack", settings, ports="free")
    try:
        stack.up()
        async with reaching(addresses_of(stack)) as freehold:
            yield freehold
    finally:
        stack.discard()


async def test_everything_works_where_nobody_is_let_in_without_tls(
    servers: Servers, secured: Freehold
) -> None:
    tenant = await secured.new_tenant()
    await tenant.append(account_id="cus_1", amount_minor=700)
    await tenant.caught_up()
    assert await tenant.balances("cus_1") == {"USD": 700}
    exported = await secured.manage("GET", f"/tenants/{tenant.tenant_id}/export")
    assert b"CREATE FUNCTION ledger.verify(" in exported.content
    made = await secured.result_of(await secured.operator.create_backup(tenant.tenant_id))
    proof = await secured.operator.verify_backup(tenant.tenant_id, made["backup_id"])
    assert (await secured.result_of(proof))["head_seq"] == 1
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="no encryption"):
        await asyncpg.connect(servers.postgres.url, ssl="disable", timeout=10)


async def test_a_server_with_another_authority_s_certificate_is_not_talked_to(
    servers: Servers,
) -> None:
    url = servers.postgres.verified_url(servers.other_authority)
    with pytest.raises(ssl.SSLCertVerificationError):
        await examine(url, timeout_s=10)
    with pytest.raises(ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
        await broker.examine(servers.rabbitmq.verified_url(servers.other_authority), timeout_s=10)
    connections = TenantConnections(
        application="test",
        connections_max=1,
        per_tenant_max=1,
        idle_s=60,
        timeout_s=10,
        tls=Tls.of(url),
    )
    home = Home(
        tenant_id="acme",
        epoch=1,
        host="127.0.0.1",
        port=servers.postgres.port,
        database="postgres",
        schema="public",
        schema_version=1,
        role="postgres",
        password=servers.postgres.password,
    )
    with pytest.raises(Unavailable):
        async with connections.use(home):
            pass
    await connections.close()
    with pytest.raises(DumpError, match="certificate verify failed"):
        await dumped(home, Tls.of(url))


async def dumped(home: Home, tls: Tls) -> None:
    dumps = Dumps(timeout_s=60, bytes_per_s=2**30, tls=tls)
    async with dumps.dump(home, "sql", server_version=LOWEST_POSTGRES) as pieces:
        async for _ in pieces:
            pass
