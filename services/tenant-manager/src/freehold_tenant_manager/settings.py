"""What tenant-manager is told. It alone knows the operator's token and the services' passwords."""

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, model_validator

from freehold.service.settings import ServiceSettings

_DEFAULT_CATALOG = "freehold_catalog"
_DEFAULT_PORT = 5432
NAME_PATTERN = r"^[a-z][a-z0-9-]{0,62}$"


def _plain(password: SecretStr) -> SecretStr:
    # Other characters would have to be normalised (SASLprep) before they are hashed.
    text = password.get_secret_value()
    if not (text.isascii() and text.isprintable()):
        raise ValueError("a password is made of printable ASCII characters")
    return password


Password = Annotated[SecretStr, Field(min_length=8), AfterValidator(_plain)]
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]


class Settings(ServiceSettings):
    """Settings of tenant-manager. `catalog_dsn` is a role with CREATEDB and CREATEROLE."""

    port: int = Field(default=8080, ge=1, le=65535, description="The port to listen on.")
    operator_token: SecretStr = Field(min_length=8, description="What operators show.")
    ingest_password: Password = Field(description="Given to the catalog role freehold_ingest.")
    projector_password: Password = Field(
        description="Given to the catalog role freehold_projector."
    )
    query_password: Password = Field(description="Given to the catalog role freehold_query.")
    region: Name = Field(default="local", description="The region that this server is in.")
    cluster: Name = Field(default="local", description="The name of this Postgres server.")
    cluster_host: str | None = Field(
        default=None,
        min_length=1,
        description="Where services reach the server; without it, the host in the catalog's DSN.",
    )
    cluster_port: int | None = Field(default=None, ge=1, le=65535)
    customer_host: str | None = Field(
        default=None,
        min_length=1,
        description="Where customers reach the server; without it, as services do.",
    )
    customer_port: int | None = Field(default=None, ge=1, le=65535)
    catalog_connections_max: int = Field(default=8, ge=2)
    provisioning_in_flight_max: int = Field(
        default=4, ge=1, description="Tenants made at once that no database is ready for."
    )
    provisioning_abandoned_s: float = Field(
        default=60.0,
        gt=0,
        description="A creation that nobody works on is undone when it is this old.",
    )
    pool_size: int = Field(
        default=16,
        ge=0,
        le=1000,
        description="Databases made ahead of their tenants; for 0, each is made when asked for.",
    )
    operations_in_flight_max: int = Field(
        default=4, ge=1, description="Operations worked on at once; others wait their turn."
    )
    operation_silent_s: float = Field(
        default=15.0,
        gt=0,
        description="An operation whose process has said nothing for so long is taken over.",
    )
    migrations_in_flight_max: int = Field(
        default=4, ge=1, description="Ledgers migrated at once, each with two connections."
    )
    migration_attempts_max: int = Field(
        default=8, ge=1, description="Turns of a ledger whose migration fails and may yet succeed."
    )
    migration_lock_timeout_s: float = Field(
        default=2.0,
        gt=0,
        description="A migration that waits longer for a lock gives up, and is tried again.",
    )
    migration_timeout_s: float = Field(
        default=600.0, gt=0, description="Bounds a single migration of a ledger."
    )
    verify_timeout_s: float = Field(
        default=600.0, gt=0, description="Bounds one call of a verification in a tenant's database."
    )
    tenant_connections_max: int = Field(
        default=8, ge=1, description="Open connections to tenants' databases, to show their state."
    )
    tenant_timeout_s: float = Field(
        default=2.0, gt=0, description="A tenant's database that takes longer is shown as null."
    )

    dump_bytes_per_s: int = Field(
        default=8 * 2**20,
        ge=2**10,
        description="How fast a ledger is dumped at most, so that others are served as before.",
    )
    dump_timeout_s: float = Field(
        default=14_400.0, gt=0, description="A dump or a restoration that takes longer is ended."
    )
    exports_in_flight_max: int = Field(
        default=2, ge=1, description="Exports at once, of a tenant one; more are refused."
    )
    backup_every_s: float = Field(
        default=86_400.0, ge=0, description="Each tenant is backed up so often; 0 for never."
    )
    backup_verify_every_s: float = Field(
        default=604_800.0,
        ge=0,
        description="Each tenant's newest backup is restored on trial so often; 0 for never.",
    )
    backup_keep_days: float = Field(
        default=30.0, gt=0, description="How far back every second stays restorable."
    )
    storage_url: str = Field(
        default="file:///var/lib/freehold/storage",
        pattern=r"^(file:///.|s3://[^/])",
        description="Where backups go: file:///folder or s3://bucket/prefix.",
    )
    storage_s3_endpoint: str | None = Field(
        default=None, min_length=1, description="The S3 server, where it is not Amazon's."
    )
    storage_s3_region: str | None = Field(default=None, min_length=1)
    storage_s3_access_key: str | None = Field(
        default=None,
        min_length=1,
        description="Without it, credentials are looked for where all of Amazon's tools do.",
    )
    storage_s3_secret_key: SecretStr | None = Field(default=None, min_length=1)
    kms_key_file: Path = Field(
        default=Path("/var/lib/freehold/kms.keys"),
        description="The keys that wrap tenants' data keys: id:base64 of 32 bytes, one a line.",
    )
    kms_aws_key: str | None = Field(
        default=None,
        min_length=1,
        description="A key of AWS KMS (id, ARN or alias) that wraps them in place of the file's.",
    )
    kms_aws_region: str | None = Field(default=None, min_length=1)
    kms_aws_endpoint: str | None = Field(
        default=None, min_length=1, description="The KMS server, where it is not Amazon's."
    )

    amqp_url: SecretStr | None = Field(
        default=None,
        description="The broker: its doorbells say whose ledger is to be archived, and parked ones"
        " are put back there. Without it, each tenant is archived every archive_sweep_s only.",
    )
    archive_pause_s: float = Field(
        default=3.0, ge=0, description="A tenant's segments are at least this far apart."
    )
    archive_sweep_s: float = Field(
        default=600.0, gt=0, description="Each tenant is looked at so often without a doorbell."
    )
    archive_in_flight_max: int = Field(default=4, ge=1, description="Tenants archived at once.")
    archive_connections_max: int = Field(
        default=64,
        ge=1,
        description="Open connections to tenants' databases, to archive whoever goes on; of more"
        " tenants each turn costs a new one.",
    )
    archive_events_max: int = Field(
        default=20_000, ge=1, description="Events of a segment, but for the rest of an append."
    )
    restore_statement_timeout_s: float = Field(
        default=3_600.0, gt=0, description="Bounds each statement in a database being restored."
    )

    @model_validator(mode="after")
    def _has_host(self) -> Self:
        if self.cluster_address[0] == "":
            raise ValueError("catalog_dsn names no host, so set FREEHOLD_CLUSTER_HOST")
        if self.provisioning_in_flight_max >= self.catalog_connections_max:
            raise ValueError("provisioning_in_flight_max must be below catalog_connections_max")
        return self

    @property
    def catalog_name(self) -> str:
        """The catalog's database."""
        path = urlsplit(self.catalog_dsn.get_secret_value()).path
        return unquote(path.removeprefix("/")) or _DEFAULT_CATALOG

    @property
    def cluster_address(self) -> tuple[str, int]:
        """The host and port under which services reach the server of the tenants' databases."""
        parts = urlsplit(self.catalog_dsn.get_secret_value())
        host = self.cluster_host or parts.hostname or ""
        return host, self.cluster_port or parts.port or _DEFAULT_PORT

    @property
    def service_passwords(self) -> dict[str, str]:
        """The password of each service's login role in the catalog, by the service's name."""
        return {
            "ingest": self.ingest_password.get_secret_value(),
            "projector": self.projector_password.get_secret_value(),
            "query": self.query_password.get_secret_value(),
        }
