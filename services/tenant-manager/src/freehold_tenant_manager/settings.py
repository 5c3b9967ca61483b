"""What tenant-manager is told. It alone knows the operator's token and the services' passwords."""

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
    catalog_connections_max: int = Field(default=8, ge=2)
    provisioning_in_flight_max: int = Field(
        default=4, ge=1, description="Tenants made at once; others wait."
    )
    provisioning_abandoned_s: float = Field(
        default=60.0,
        gt=0,
        description="A creation that nobody works on is undone when it is this old.",
    )
    operations_in_flight_max: int = Field(
        default=4, ge=1, description="Operations worked on at once; others wait their turn."
    )
    verify_timeout_s: float = Field(
        default=600.0, gt=0, description="Bounds one call of a verification in a tenant's database."
    )
    amqp_url: SecretStr | None = Field(
        default=None, description="The broker; without it, parked doorbells cannot be put back."
    )
    tenant_connections_max: int = Field(
        default=8, ge=1, description="Open connections to tenants' databases, to show their state."
    )
    tenant_timeout_s: float = Field(
        default=2.0, gt=0, description="A tenant's database that takes longer is shown as null."
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
