"""Settings of tenant-manager, which alone has the operator's token and services' passwords."""

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from freehold.settings import AmqpUrl, ServiceSettings
from freehold_tenant_manager.contracts.names import Name
from freehold_tenant_manager.contracts.operators import Role
from freehold_tenant_manager.server.roles import USUAL_BOUNDS, CustomerBounds
from freehold_tenant_manager.server.server import catalog_name

_DEFAULT_PORT = 5432
_ORIGIN = r"^https?://[^/?#@]+$"
_TIME_MAX_S = 2_000_000  # Postgres counts milliseconds in 32 bits.


def _plain(password: SecretStr) -> SecretStr:
    # Other characters would have to be normalised (SASLprep) before they are hashed.
    text = password.get_secret_value()
    if not (text.isascii() and text.isprintable()):
        raise ValueError("a password is made of printable ASCII characters")
    return password


def _roles(text: str) -> str:
    for entry in text.split(","):
        group, _, role = entry.rpartition("=")
        if not group.strip() or role.strip() not in list(Role):
            raise ValueError("this is to look like ledger-admins=owner,sre=operator")
    return text


Password = Annotated[SecretStr, Field(min_length=8), AfterValidator(_plain)]


class Settings(ServiceSettings):
    """Settings of tenant-manager. `catalog_dsn` is a role with CREATEDB and CREATEROLE."""

    port: int = Field(default=8080, ge=1, le=65535, description="The port to listen on.")
    operator_token: SecretStr = Field(min_length=8, description="The operators' token.")
    operator_token_previous: SecretStr | None = Field(
        default=None, min_length=8, description="The previous token, which is still accepted."
    )
    console_url: str | None = Field(
        default=None,
        pattern=_ORIGIN,
        description="Where browsers reach the console: https://operators.example.com.",
    )
    oidc_issuer: str | None = Field(
        default=None,
        pattern=r"^(https://|http://(127\.0\.0\.1|localhost)[:/])",
        description="The identity provider (OpenID Connect) at which operators may sign in. Needs"
        " the next three and console_url.",
    )
    oidc_client_id: str | None = Field(default=None, min_length=1)
    oidc_client_secret: SecretStr | None = Field(default=None, min_length=1)
    oidc_roles: Annotated[str, AfterValidator(_roles)] | None = Field(
        default=None, description="Which groups have which role: ledger-admins=owner,sre=operator."
    )
    oidc_role_claim: str = Field(
        default="groups", min_length=1, description="The claim of the ID token with the groups."
    )
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
        description="The host at which services reach the server; by default the catalog DSN's.",
    )
    cluster_port: int | None = Field(default=None, ge=1, le=65535)
    customer_host: str | None = Field(
        default=None,
        min_length=1,
        description="The host at which customers reach the server; by default the services' host.",
    )
    customer_port: int | None = Field(default=None, ge=1, le=65535)
    catalog_connections_max: int = Field(default=8, ge=2)
    provisioning_in_flight_max: int = Field(
        default=4, ge=1, description="Tenants made at once without a database of the pool."
    )
    provisioning_abandoned_s: float = Field(
        default=60.0,
        gt=0,
        description="The age at which a creation that no process works on is undone.",
    )
    pool_size: int = Field(
        default=16, ge=0, le=1000, description="Databases made ahead of their tenants; 0 for none."
    )
    operations_in_flight_max: int = Field(
        default=4, ge=1, description="Operations worked on at once."
    )
    operation_silent_s: float = Field(
        default=15.0,
        gt=0,
        description="Silence of a process after which its operations are taken over.",
    )
    migrations_in_flight_max: int = Field(
        default=4, ge=1, description="Ledgers migrated at once, each with two connections."
    )
    migration_attempts_max: int = Field(
        default=8, ge=1, description="Turns of a ledger whose migration keeps failing."
    )
    migration_lock_timeout_s: float = Field(
        default=2.0,
        gt=0,
        description="A migration that waits longer for a lock is tried again later.",
    )
    migration_timeout_s: float = Field(
        default=600.0, gt=0, description="Bounds one migration of a ledger."
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

    usage_every_s: float = Field(
        default=30.0, gt=0, description="The time between two rounds of sampling what tenants use."
    )
    metrics_tenants_max: int = Field(
        default=20,
        ge=0,
        description="Tenants with metrics of their own, the most active; the rest is one more.",
    )

    customer_temp_files_mb: int = Field(
        default=USUAL_BOUNDS.temp_files_mb,
        ge=1,
        le=2**20,
        description="Temporary files of each server process of a customer's session.",
    )
    customer_transaction_s: int = Field(
        default=USUAL_BOUNDS.transaction_s,
        ge=1,
        le=_TIME_MAX_S,
        description="The age of a transaction or statement that ends a customer's session.",
    )
    customer_idle_in_transaction_s: int = Field(
        default=USUAL_BOUNDS.idle_in_transaction_s,
        ge=1,
        le=_TIME_MAX_S,
        description="Idleness within a transaction that ends a customer's session.",
    )
    customer_idle_s: int = Field(
        default=USUAL_BOUNDS.idle_s,
        ge=1,
        le=_TIME_MAX_S,
        description="Idleness that ends a customer's session.",
    )
    customer_sessions_max: int = Field(
        default=100,
        ge=1,
        description="Sessions of all customers together; beyond this, the longest idle are ended.",
    )

    dump_bytes_per_s: int = Field(
        default=8 * 2**20,
        ge=2**10,
        description="The bound on the speed of dumps, which protects other work.",
    )
    dump_timeout_s: float = Field(
        default=14_400.0, gt=0, description="A dump or a restoration that takes longer fails."
    )
    exports_in_flight_max: int = Field(
        default=2, ge=1, description="Exports at once, one per tenant; more are refused."
    )
    backup_every_s: float = Field(
        default=86_400.0, ge=0, description="The time between two backups of a tenant; 0 for none."
    )
    backup_verify_every_s: float = Field(
        default=604_800.0,
        ge=0,
        description="The time between two trial restores of a tenant's backups; 0 for none.",
    )
    backup_keep_days: float = Field(
        default=30.0, gt=0, description="Days back to which every second can be restored."
    )
    storage_url: str = Field(
        default="file:///var/lib/freehold/storage",
        pattern=r"^(file:///.|s3://[^/])",
        description="Where backups are stored: file:///folder or s3://bucket/prefix.",
    )
    storage_s3_endpoint: str | None = Field(
        default=None, min_length=1, description="The S3 server, if it is not Amazon's."
    )
    storage_s3_region: str | None = Field(default=None, min_length=1)
    storage_s3_access_key: str | None = Field(
        default=None,
        min_length=1,
        description="By default, credentials are looked up as Amazon's tools do.",
    )
    storage_s3_secret_key: SecretStr | None = Field(default=None, min_length=1)
    kms_key_file: Path = Field(
        default=Path("/var/lib/freehold/kms.keys"),
        description="The keys that wrap tenants' data keys: id:base64 of 32 bytes, one a line.",
    )
    kms_aws_key: str | None = Field(
        default=None,
        min_length=1,
        description="A key of AWS KMS (id, ARN or alias) that wraps them instead.",
    )
    kms_aws_region: str | None = Field(default=None, min_length=1)
    kms_aws_endpoint: str | None = Field(
        default=None, min_length=1, description="The KMS server, if it is not Amazon's."
    )

    amqp_url: AmqpUrl | None = Field(
        default=None,
        description="The broker, whose doorbells start archiving. Without it, each tenant is"
        " archived every archive_sweep_s, and parked doorbells cannot be put back.",
    )
    archive_pause_s: float = Field(
        default=3.0, ge=0, description="The least time between two segments of a tenant."
    )
    archive_sweep_s: float = Field(
        default=600.0, gt=0, description="The time between two rounds without doorbells."
    )
    archive_in_flight_max: int = Field(default=4, ge=1, description="Tenants archived at once.")
    archive_connections_max: int = Field(
        default=64,
        ge=1,
        description="Connections kept open to tenants' databases; beyond them, archiving a tenant"
        " opens a new one.",
    )
    archive_events_max: int = Field(
        default=20_000, ge=1, description="Events of a segment; the last append may exceed it."
    )
    restore_statement_timeout_s: float = Field(
        default=3_600.0, gt=0, description="Bounds each statement in a database being restored."
    )

    @model_validator(mode="after")
    def _has_host(self) -> Self:
        if self.cluster_address[0] == "":
            raise ValueError("catalog_dsn names no host, so set FREEHOLD_CLUSTER_HOST")
        if self.provisioning_in_flight_max >= self.catalog_connections_max:
            raise ValueError(
                "FREEHOLD_PROVISIONING_IN_FLIGHT_MAX must be below FREEHOLD_CATALOG_CONNECTIONS_MAX"
            )
        if (self.storage_s3_access_key is None) != (self.storage_s3_secret_key is None):
            raise ValueError(
                "FREEHOLD_STORAGE_S3_ACCESS_KEY and FREEHOLD_STORAGE_S3_SECRET_KEY go together"
            )
        provider = (
            *(self.oidc_issuer, self.oidc_client_id, self.oidc_client_secret),
            self.oidc_roles,
        )
        if any(provider) and not all((*provider, self.console_url)):
            raise ValueError(
                "FREEHOLD_OIDC_ISSUER, FREEHOLD_OIDC_CLIENT_ID, FREEHOLD_OIDC_CLIENT_SECRET,"
                " FREEHOLD_OIDC_ROLES and FREEHOLD_CONSOLE_URL go together"
            )
        return self

    @property
    def roles_of_groups(self) -> dict[str, Role]:
        """The roles of the identity provider's groups."""
        entries = (entry.rpartition("=") for entry in (self.oidc_roles or "").split(",") if entry)
        return {group.strip(): Role(role.strip()) for group, _, role in entries}

    @property
    def catalog_name(self) -> str:
        """The catalog's database."""
        return catalog_name(self.catalog_dsn.get_secret_value())

    @property
    def cluster_address(self) -> tuple[str, int]:
        """The host and port under which services reach the server of the tenants' databases."""
        parts = urlsplit(self.catalog_dsn.get_secret_value())
        host = self.cluster_host or parts.hostname or ""
        return host, self.cluster_port or parts.port or _DEFAULT_PORT

    @property
    def customer_bounds(self) -> CustomerBounds:
        """What sessions of customers may use."""
        return CustomerBounds(
            temp_files_mb=self.customer_temp_files_mb,
            transaction_s=self.customer_transaction_s,
            idle_in_transaction_s=self.customer_idle_in_transaction_s,
            idle_s=self.customer_idle_s,
        )

    @property
    def service_passwords(self) -> dict[str, str]:
        """The password of each service's login role in the catalog, by the service's name."""
        return {
            "ingest": self.ingest_password.get_secret_value(),
            "projector": self.projector_password.get_secret_value(),
            "query": self.query_password.get_secret_value(),
        }
