"""Where a tenant's ledger lives, and as whom a service works there."""

from dataclasses import dataclass, field

from freehold.ledger.client import Record
from freehold.security.sealing import KeyRing, Sealed


@dataclass(frozen=True, slots=True)
class Home:
    """A tenant's place: server, database, schema, and this service's own role in it.

    The limits on what ingest takes are None where its settings hold. Only `active` tenants may ask
    for anything; the ledgers of the others are still looked after.
    """

    tenant_id: str
    epoch: int
    host: str
    port: int
    database: str
    schema: str
    schema_version: int
    role: str
    password: str = field(repr=False)
    ingest_events_per_s: int | None = None
    ingest_requests_max: int | None = None
    status: str = "active"


def home_of(row: Record, key_ring: KeyRing) -> Home:
    """Read a home from a row of the catalog, with the columns of the view service_homes.

    Raises:
        SealingError: The credential in it does not open.
    """
    sealed = Sealed(row["sealing_key_id"], row["sealed_password"])
    return Home(
        tenant_id=row["tenant_id"],
        epoch=row["epoch"],
        host=row["host"],
        port=row["port"],
        database=row["database_name"],
        schema=row["schema_name"],
        schema_version=row["schema_version"],
        role=row["role_name"],
        password=key_ring.open(sealed, row["role_name"]),
        # A catalog that an older tenant-manager set up does not have them yet.
        ingest_events_per_s=row.get("ingest_events_per_s"),
        ingest_requests_max=row.get("ingest_requests_max"),
        status=row.get("status", "active"),
    )
