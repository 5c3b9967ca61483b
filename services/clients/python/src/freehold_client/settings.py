"""Where Freehold is, and who asks."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict
from urllib.parse import urlsplit

from freehold_client.errors import SettingsError
from freehold_client.routes import Service

INGEST_URL = "http://127.0.0.1:8081"
QUERY_URL = "http://127.0.0.1:8082"
TENANT_MANAGER_URL = "http://127.0.0.1:8080"

_CREDENTIAL = re.compile("[!-~]+")


class EnvironmentSettings(TypedDict, total=False):
    """Settings that the environment has."""

    api_key: str
    operator_token: str
    ingest_url: str
    query_url: str
    tenant_manager_url: str


def environment_settings(environment: Mapping[str, str]) -> EnvironmentSettings:
    """Read the variables, as FREEHOLD_API_KEY for `api_key`. Empty ones count as unset."""
    found: EnvironmentSettings = {}
    for name in EnvironmentSettings.__annotations__:
        if value := environment.get(_variable(name)):
            found[name] = value  # type: ignore[literal-required] # It is one of them.
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Addresses and credentials. The text of this object has no credential.

    Raises:
        SettingsError: One of them cannot be what it is to be.
    """

    api_key: str | None = field(repr=False)
    operator_token: str | None = field(repr=False)
    ingest_url: str
    query_url: str
    tenant_manager_url: str

    def __post_init__(self) -> None:
        for name in ("api_key", "operator_token"):
            credential = getattr(self, name)
            if credential is not None and not _CREDENTIAL.fullmatch(credential):
                raise SettingsError(f"{name} is made of printable ASCII characters, and no spaces")
        for service in Service:
            url = urlsplit(self.url(service))
            # A user and a password in an address would be shown with it.
            if url.scheme not in {"http", "https"} or not url.hostname or "@" in url.netloc:
                raise SettingsError(f"{service}_url is to look like https://host:port")

    def url(self, service: Service) -> str:
        """Give a service's address, without a slash at its end."""
        url: str = getattr(self, f"{service}_url")
        return url.rstrip("/")

    def credential(self, *, of_operator: bool) -> str:
        """Give the credential of the operator, or of the tenant.

        Raises:
            SettingsError: It is not set.
        """
        name = "operator_token" if of_operator else "api_key"
        credential: str | None = getattr(self, name)
        if credential is None:
            raise SettingsError(f"this call needs {name}, or the variable {_variable(name)}")
        return credential


def _variable(name: str) -> str:
    return f"FREEHOLD_{name.upper()}"
