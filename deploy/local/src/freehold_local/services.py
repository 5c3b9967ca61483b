"""The environment and the start script of each of the four services.

A service gets only the settings that it knows, and never another service's secrets.
"""

import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

from freehold_local.credentials import Credentials
from freehold_local.ports import LOOPBACK
from freehold_local.programs import Program, script_text
from freehold_local.settings import Settings

CATALOG = "freehold_catalog"

# Services finish accepted work before they end. Each has its own, shorter deadline for that.
STOP_TIMEOUT_S = 45


def service_url(port: int) -> str:
    """The URL of a service."""
    return f"http://{LOOPBACK}:{port}"


def catalog_dsn(postgres_url: str, user: str | None = None, password: str | None = None) -> str:
    """The URL of the catalog database on a server.

    Args:
        postgres_url: Any database of that server.
        user: The role; None for the one in the URL.
        password: That role's password.
    """
    parts = urlsplit(postgres_url)
    login, _, address = parts.netloc.rpartition("@")
    if user is not None:
        login = f"{user}:{quote(password or '', safe='')}"
    return parts._replace(netloc=f"{login}@{address}", path=f"/{CATALOG}").geturl()


def service_environments(
    settings: Settings,
    credentials: Credentials,
    ports: Mapping[str, int],
    *,
    state: Path,
    postgres_url: str,
    amqp_url: str,
) -> dict[str, dict[str, str]]:
    """The settings of each service, by its name.

    Args:
        settings: The settings of the stack.
        credentials: The stack's passwords and keys.
        ports: Each service's port.
        state: The stack's folder.
        postgres_url: tenant-manager's login to the server, any database.
        amqp_url: The broker.
    """
    passwords = {
        "ingest": credentials.ingest_password,
        "projector": credentials.projector_password,
        "query": credentials.query_password,
    }
    environments = {
        "tenant-manager": {
            "FREEHOLD_CATALOG_DSN": catalog_dsn(postgres_url),
            "FREEHOLD_OPERATOR_TOKEN": credentials.operator_token,
            "FREEHOLD_INGEST_PASSWORD": credentials.ingest_password,
            "FREEHOLD_PROJECTOR_PASSWORD": credentials.projector_password,
            "FREEHOLD_QUERY_PASSWORD": credentials.query_password,
            "FREEHOLD_STORAGE_URL": (state / "storage").absolute().as_uri(),
            "FREEHOLD_KMS_KEY_FILE": str((state / "kms.keys").absolute()),
        }
    }
    for service, password in passwords.items():
        dsn = catalog_dsn(postgres_url, f"freehold_{service}", password)
        environments[service] = {"FREEHOLD_CATALOG_DSN": dsn}
        if settings.postgres_url is None:
            # The private server allows 500 in all; an own server's limit is unknown.
            environments[service]["FREEHOLD_CONNECTIONS_MAX"] = "100"
    # The console of query leads there for the whole ledger.
    environments["query"]["FREEHOLD_TENANT_MANAGER_URL"] = service_url(ports["tenant-manager"])
    for service, environment in environments.items():
        environment |= {
            "FREEHOLD_AMQP_URL": amqp_url,
            "FREEHOLD_HOST": LOOPBACK,
            "FREEHOLD_PORT": str(ports[service]),
            "FREEHOLD_CREDENTIAL_KEYS": credentials.credential_keys,
            **settings.for_services[service],
        }
    return environments


def service_program(service: str, state: Path) -> Program:
    """The program of a service."""
    return Program(
        name=service,
        script=state / "services" / service,
        folder=state,
        account=None,
        stop_signal=signal.SIGTERM,
        stop_timeout_s=STOP_TIMEOUT_S,
        is_server=False,
    )


def service_script(service: str, state: Path, environment: Mapping[str, str]) -> str:
    """The text of a service's start script."""
    return script_text(
        f"Starts {service} with the settings of this stack.",
        owner=state,
        folder=state,
        environment=environment,
        command=[Path(sys.executable).with_name(f"freehold-{service}")],
    )


def client_environment(
    environments: Mapping[str, Mapping[str, str]], ports: Mapping[str, int], *, amqp_url: str
) -> dict[str, str]:
    """The variables with which a person or a test reaches the running stack."""
    manager = environments["tenant-manager"]
    return {
        "FREEHOLD_TENANT_MANAGER_URL": service_url(ports["tenant-manager"]),
        "FREEHOLD_INGEST_URL": service_url(ports["ingest"]),
        "FREEHOLD_QUERY_URL": service_url(ports["query"]),
        "FREEHOLD_PROJECTOR_URL": service_url(ports["projector"]),
        "FREEHOLD_OPERATOR_TOKEN": manager["FREEHOLD_OPERATOR_TOKEN"],
        "FREEHOLD_AMQP_URL": amqp_url,
        "FREEHOLD_CATALOG_DSN": manager["FREEHOLD_CATALOG_DSN"],
    }
