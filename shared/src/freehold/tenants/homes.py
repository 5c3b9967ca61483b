"""A tenant's home: where the ledger is, and the service's role in it."""

from dataclasses import dataclass, field

from freehold.contracts.errors import LedgerVersionUnsupported
from freehold.ledger.client import Record
from freehold.ledger.schema import LEDGER_VERSION, LEDGER_VERSION_MIN
from freehold.security.key_ring import KeyRing, Sealed


@dataclass(frozen=True, slots=True)
class Home:
    """A tenant's server, database and schema, and this service's role in it.

    `services_version_min` is the ledger version that a service must know to work there. Ingest's
    limits are None if its settings apply. Only requests of `active` tenants are served; background
    work goes on for all. `name` is what the tenant is called on documents.
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
    name: str = ""

    def require_known_version(self) -> None:
        """Refuse a ledger that this release cannot work with.

        Raises:
            LedgerVersionUnsupported: It names the ledger's version and this release's.
        """
        if self.schema_version < LEDGER_VERSION_MIN:
            raise LedgerVersionUnsupported(
                f"the tenant's ledger has version {self.schema_version} and this service needs"
                f" {LEDGER_VERSION_MIN} or later: it waits for the tenant to be migrated"
            )
        if self.services_version_min > LEDGER_VERSION:
            raise LedgerVersionUnsupported(
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
        ingest_events_per_s=row["ingest_events_per_s"],
        ingest_requests_max=row["ingest_requests_max"],
        services_version_min=row["services_version_min"],
        status=row["status"],
        name=row["name"],
    )
