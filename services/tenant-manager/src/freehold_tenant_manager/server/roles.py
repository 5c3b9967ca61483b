"""Tenants' roles, and the settings that the scripts on them read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from freehold_tenant_manager.contracts.credentials import Service
from freehold_tenant_manager.server.scram import scram_verifier

SERVICES: tuple[Service, ...] = get_args(Service.__value__)
"""The suffixes of the names of a tenant's login roles."""

SERVING: tuple[Service, ...] = ("ingest", "projector", "query")
"""The services that serve a tenant; without them the ledger does not change."""

CUSTOMER: Service = "auditor"
"""The service whose role the customer logs in with. Freehold itself does not."""

_GENERATED_ITERATIONS = 64


@dataclass(frozen=True, slots=True)
class CustomerBounds:
    """Bounds of a customer's session.

    `temp_files_mb` bounds the temporary files of a process, in megabytes. The times are seconds:
    of a transaction, of idleness within one, of idleness between two.
    """

    temp_files_mb: int = 1024
    transaction_s: int = 3_600
    idle_in_transaction_s: int = 300
    idle_s: int = 3_600

    @property
    def temp_files(self) -> str:
        """The bound on temporary files as Postgres writes it."""
        return f"{self.temp_files_mb}MB"

    def settings(self) -> dict[str, str]:
        """Give the settings that customer_bounds.sql reads in addition to role_settings."""
        return {
            "freehold.customer_temp_files": self.temp_files,
            "freehold.customer_transaction": f"{self.transaction_s}s",
            "freehold.customer_idle_in_transaction": f"{self.idle_in_transaction_s}s",
            "freehold.customer_idle": f"{self.idle_s}s",
        }


USUAL_BOUNDS = CustomerBounds()


def role_settings(database_name: str, services: Sequence[Service] = SERVICES) -> dict[str, str]:
    """Give the settings that scripts on a database's roles read, of all or some services."""
    return {"freehold.role_prefix": database_name, "freehold.services": ",".join(services)}


def verifier_settings(passwords: Mapping[str, str]) -> dict[str, str]:
    """Give the settings that tenant_roles.sql reads as well, from passwords by service."""
    return {
        f"freehold.verifier_{service}": role_verifier(service, password)
        for service, password in passwords.items()
    }


def role_verifier(service: str, password: str) -> str:
    """Make the verifier of a generated password of 192 random bits.

    RFC 5802 asks for many iterations to slow down guessing. Guessing 192 bits is hopeless anyway,
    and every new connection pays for each iteration, so services' roles have few. The customer's
    role has the usual number, since some drivers refuse fewer.
    """
    if service == CUSTOMER:
        return scram_verifier(password)
    return scram_verifier(password, iterations=_GENERATED_ITERATIONS)
