"""Where a tenant's ledger lives, as whom a service works there, and whether it can."""

from dataclasses import dataclass, field

from freehold.contracts.problems import LEDGER_VERSION_UNSUPPORTED, Problem
from freehold.ledger.client import Record
from freehold.ledger.schema import LEDGER_VERSION, LEDGER_VERSION_MIN
from freehold.security.sealing import KeyRing, Sealed

_RETRY_AFTER_S = 10


@dataclass(frozen=True, slots=True)
class Home:
    """A tenant's place: server, database, schema, and this service's own role in it.

    `services_version_min` is the ledger version that whoever works there must know. The limits on
    what ingest takes are None where its settings hold. Only `active` tenants may ask for anything;
    the ledgers of the others are still looked after.
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
    services_version_min: int = 0
    status: str = "active"

    def require_known_version(self) -> None:
        """Refuse a ledger that this release cannot work with; others may be served meanwhile.

        Raises:
            Problem: ledger-version-unsupported, naming the ledger's version and this release's.
        """
        if self.schema_version < LEDGER_VERSION_MIN:
            raise _unsupported(
                f"the tenant's ledger has version {self.schema_version} and this service needs"
                f" {LEDGER_VERSION_MIN} or later: it waits for the tenant to be migrated"
            )
        if self.services_version_min > LEDGER_VERSION:
            raise _unsupported(
                f"the tenant's ledger has version {self.schema_version} and needs services that"
                f" know {self.services_version_min}; this one knows {LEDGER_VERSION}: it waits for"
                " its own next release"
            )


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
        services_version_min=row.get("services_version_min", 0),
        status=row.get("status", "active"),
    )


def _unsupported(detail: str) -> Problem:
    return Problem(LEDGER_VERSION_UNSUPPORTED, detail, headers={"Retry-After": str(_RETRY_AFTER_S)})
