"""The four services: what each is told, and nothing more.

A service refuses settings that it does not know, and no service is given another's secrets.
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

# Services finish what they accepted before they end; each bounds that by itself, well below this.
STOP_TIMEOUT_S = 45


def service_url(port: int) -> str:
    """Where a service is reached."""
    return f"http://{LOOPBACK}:{port}"


def catalog_dsn(postgres_url: str, user: str | None = None, password: str | None = None) -> str:
    """The catalog database on a server.

    Args:
        postgres_url: Any database of that server.
        user: The role to log in as, or None for the one in the URL.
        password: That role's password.
    """
    parts = urlsplit(postgres_url)
    login, _, place = parts.netloc.rpartition("@")
    if user is not None:
        login = f"{user}:{quote(password or '', safe='')}"
    return parts._replace(netloc=f"{login}@{place}", path=f"/{CATALOG}").geturl()


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
        settings: What the person chose.
        credentials: The stack's passwords and keys.
        ports: Each service's port.
        state: The stack's own folder.
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
            # Our own server allows as many; of a server of theirs we know nothing.
            environments[service]["FREEHOLD_CONNECTIONS_MAX"] = "100"
    for service in ("tenant-manager", "ingest", "projector"):
        environments[service]["FREEHOLD_AMQP_URL"] = amqp_url
    for service, environment in environments.items():
        environment |= {
            "FREEHOLD_HOST": LOOPBACK,
            "FREEHOLD_PORT": str(ports[service]),
            "FREEHOLD_CREDENTIAL_KEYS": credentials.credential_keys,
            **settings.for_services[service],
        }
    return environments


def service_program(service: str, state: Path) -> Program:
    """How a service is run."""
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
        f"Starts {service} as this stack has it.",
        owner=state,
        environment=environment,
        command=[Path(sys.executable).with_name(f"freehold-{service}")],
    )


def client_environment(
    environments: Mapping[str, Mapping[str, str]], ports: Mapping[str, int], *, amqp_url: str
) -> dict[str, str]:
    """What a person or a test needs to talk to the running stack."""
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
