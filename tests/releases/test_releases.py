"""The data of each earlier release, under this one: all of it stays, and goes on."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from freehold.contracts.messages import Appended, Projected
from freehold.ledger import client
from releases.facts import asked
from releases.kept import CHECKSUMS, Kept, Revived, connected, includes, kept_releases, revived
from support.answers import found, problem
from support.clients import Freehold, Tenant, event_body, reaching
from support.documents import Document
from support.schemas import described
from support.stacks import addresses_of
from support.upstream import accepted, upstream_of

RIGHTS = re.compile(r"\{([^{}]*)\}")
PARTITION = re.compile(r"ledger_events_\w*\d{4}")
UNCHANGED, CONTINUED = "acme", "globex"
"""The tenant that tests only read, and the one that they append to and restore."""


@pytest.fixture(
    scope="module", params=kept_releases(), ids=[kept.folder.name for kept in kept_releases()]
)
def kept(request: pytest.FixtureRequest) -> Kept:
    kept: Kept = request.param
    return kept


@pytest.fixture(scope="module")
async def now(kept: Kept, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Revived]:
    """This release on the data, started as an operator starts it."""
    running = revived(kept, tmp_path_factory.mktemp("revived"))
    revival = await asyncio.to_thread(running.__enter__)
    try:
        yield revival
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


@pytest.fixture(scope="module")
async def freehold(now: Revived) -> AsyncIterator[Freehold]:
    """The services, after all ledgers are migrated."""
    async with reaching(addresses_of(now.stack)) as freehold:
        await freehold.end_of(await freehold.operator.migrate_ledgers(phase="before"))
        await freehold.end_of(await freehold.operator.migrate_ledgers(phase="after"))
        yield freehold


@pytest.fixture
def then(kept: Kept) -> Document:
    """What was recorded of the tenants."""
    tenants: Document = kept.answers["tenants"]
    return tenants


@pytest.fixture
def unchanged(freehold: Freehold, then: Document) -> Tenant:
    return Tenant(freehold, UNCHANGED, then[UNCHANGED]["api_key"])


@pytest.fixture
def continued(freehold: Freehold, then: Document) -> Tenant:
    return Tenant(freehold, CONTINUED, then[CONTINUED]["api_key"])


def test_the_data_is_what_the_release_left(kept: Kept) -> None:
    assert kept.checksums() == (kept.folder / CHECKSUMS).read_text()


async def test_every_ledger_is_current(freehold: Freehold) -> None:
    overview = found(await freehold.manage("GET", "/migrations"))
    assert [one["tenant_id"] for one in overview["data"]] == [UNCHANGED, CONTINUED]
    assert {one["status"] for one in overview["data"]} == {"current"}


async def test_a_migrated_ledger_is_like_a_new_one(
    freehold: Freehold, unchanged: Tenant, now: Revived
) -> None:
    """A change of the SQL that brings no migration leaves the two apart."""
    schemas = []
    for tenant in (unchanged, await freehold.new_tenant()):
        database = await database_of(tenant)
        async with connected(now.server_url, database) as ledger:
            rows = await described(ledger, "ledger")
        # Partitions are those of the years that a ledger has seen.
        kept = [row.replace(database, "fh") for row in rows if not PARTITION.search(row)]
        schemas.append(sorted(_as_dumped(row) for row in kept))
    assert schemas[0] == schemas[1]


async def test_every_answer_is_the_recorded_one(unchanged: Tenant, then: Document) -> None:
    for path, answer in then[UNCHANGED]["answers"].items():
        today = found(await unchanged.get(*asked(path)))
        assert includes(today, answer), (path, today, answer)


async def test_a_key_used_then_is_answered_as_then(unchanged: Tenant, then: Document) -> None:
    for request in then[UNCHANGED]["requests"]:
        answer = await unchanged.post(request["path"], request["body"], key=request["key"])
        assert answer.text == request["answer"]
        assert answer.headers["idempotency-replayed"] == "true"


async def test_the_ledger_is_proven_and_its_state_right(
    unchanged: Tenant, now: Revived, then: Document
) -> None:
    async with connected(now.server_url, now.kept.answers["databases"][UNCHANGED]) as ledger:
        proof = await client.verify(ledger)
        assert (proof.ok, proof.reason) == (True, None)
        assert proof.head_hash.hex() == then[UNCHANGED]["head"]["hash"]
        assert await client.reconcile(ledger) == []


async def test_messages_of_then_are_understood(
    unchanged: Tenant, now: Revived, then: Document
) -> None:
    doorbells = now.kept.answers["doorbells"]
    models = {model.model_fields["type"].default: model for model in (Appended, Projected)}
    assert {doorbell["type"] for doorbell in doorbells} == set(models)
    for doorbell in doorbells:
        heard = models[doorbell["type"]].model_validate(doorbell)
        assert includes(heard.model_dump(mode="json"), doorbell)
    inbound = then[UNCHANGED]["inbound"]
    async with upstream_of(now.stack.env()["FREEHOLD_AMQP_URL"]) as upstream:
        answer = await upstream.ask(unchanged, inbound["body"], message_id=inbound["message_id"])
    accepted(answer)
    assert answer.content.decode() == inbound["answer"]


async def test_an_export_of_then_restores_and_is_proven(
    now: Revived, then: Document, tmp_path: Path
) -> None:
    async with connected(now.server_url, "postgres") as superuser:
        await superuser.execute("CREATE DATABASE taken_along TEMPLATE template0")
    url = now.server_url.removesuffix("postgres") + "taken_along"
    await now.kept.restore("export", url, tmp_path)
    async with connected(now.server_url, "taken_along") as ledger:
        row = await ledger.fetchrow("SELECT ok, encode(head_hash, 'hex') FROM verify()")
    assert row is not None
    assert tuple(row) == (True, then[UNCHANGED]["head"]["hash"])


async def test_the_ledger_goes_on(continued: Tenant, now: Revived) -> None:
    head_seq = (await continued.lag()).head_seq
    event = await continued.append(account_id="cus_new", amount_minor=7)
    assert event.seq == head_seq + 1
    await continued.caught_up()
    assert await continued.balances("cus_new") == {"USD": 7}
    beyond_the_limit = event_body(amount_minor=-(10**9))
    problem(await continued.post("/events", beyond_the_limit), "insufficient-funds")
    async with connected(now.server_url, await database_of(continued)) as ledger:
        assert (await client.verify(ledger)).ok
        assert await client.reconcile(ledger) == []


async def test_a_backup_and_an_archive_of_then_restore(
    continued: Tenant, now: Revived, then: Document
) -> None:
    freehold, recorded = continued.freehold, then[CONTINUED]
    backup, head = recorded["backup"], recorded["head"]
    # The archive first, which has an event that the backup does not have.
    for wanted, seq, head_hash in (
        ({"to_seq": head["seq"]}, head["seq"], head["hash"]),
        ({"backup_id": backup["backup_id"]}, backup["head_seq"], backup["head_hash"]),
    ):
        restoring = await freehold.operator.restore_tenant(CONTINUED, **wanted)
        await freehold.end_of(restoring)
        async with connected(now.server_url, await database_of(continued)) as ledger:
            proof = await client.verify(ledger)
        assert (proof.ok, proof.events_checked) == (True, seq)
        assert proof.head_hash.hex() == head_hash


async def database_of(tenant: Tenant) -> str:
    """Give the name of a tenant's database, which a restore changes."""
    shown = await tenant.freehold.operator.get_tenant(tenant.tenant_id)
    return shown.home.database


def _as_dumped(row: str) -> str:
    """Take away what a dump changes but not the meaning: the order of rights, parentheses."""
    row = RIGHTS.sub(lambda rights: ",".join(sorted(rights[1].split(","))), row)
    return row.replace("(", "").replace(")", "")
