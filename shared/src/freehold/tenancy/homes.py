"""Where a tenant's ledger lives, and as whom a service works there."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Home:
    """A tenant's place: server, database, schema, and this service's own role in it."""

    tenant_id: str
    epoch: int
    host: str
    port: int
    database: str
    schema: str
    schema_version: int
    role: str
    password: str = field(repr=False)
