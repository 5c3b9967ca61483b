"""What the sampler reads from the server, and writes to the catalog."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import datetime

from freehold.database.queries import load_queries
from freehold.ledger.client import Connection

_QUERIES = load_queries("freehold_tenant_manager.usage", "queries.sql")


@dataclass(frozen=True, slots=True)
class Question:
    """A tenant whose ledger is to be asked, and what the catalog knows of it before."""

    tenant_id: str
    server_writes: int
    archived_seq: int


@dataclass(frozen=True, slots=True)
class LedgerFigures:
    """What a tenant's ledger answered."""

    tenant_id: str
    known_writes: int
    """How many writes the server had counted before the answer."""
    events: int
    accounts: int
    events_behind: int
    seconds_behind: float
    unarchived_seq: int | None
    """The first event that is not in the archive; None where all are."""
    unarchived_at: datetime | None


async def begin_round(connection: Connection, every_s: float) -> bool:
    """Say whether this process is to go round; then no other does for `every_s` seconds."""
    return await connection.fetchval(_QUERIES["begin_round"], every_s) is not None


async def end_round(connection: Connection, parked_doorbells: int | None) -> None:
    """Record that a round is done, and how many doorbells are parked."""
    await connection.execute(_QUERIES["end_round"], parked_doorbells)


async def read_server(connection: Connection, cluster: str) -> None:
    """Read what this server counts for each tenant's database, in one statement."""
    await connection.execute(_QUERIES["read_server"], cluster)


async def choose_to_ask(connection: Connection, tenants_max: int) -> list[Question]:
    """Choose the tenants whose figures may have changed, the one asked longest ago first."""
    rows = await connection.fetch(_QUERIES["choose_to_ask"], tenants_max)
    return [Question(**row) for row in rows]


async def measure(connection: Connection, tenant_ids: Sequence[str]) -> None:
    """Measure tenants' databases on the disk. The server looks at each of their files."""
    await connection.execute(_QUERIES["measure"], tenant_ids)


async def save_answers(connection: Connection, answers: Sequence[LedgerFigures]) -> None:
    """Save what ledgers answered."""
    if answers:
        columns = zip(*map(astuple, answers), strict=True)
        await connection.execute(_QUERIES["save_answers"], *map(list, columns))


async def keep_samples(connection: Connection, every_s: float) -> None:
    """Keep the figures as a sample, and remove old samples, unless that was done just now."""
    if await connection.fetchval(_QUERIES["begin_keeping"], every_s):
        for name in ("keep_samples", "thin_samples", "forget_slow_reads"):
            await connection.execute(_QUERIES[name])
