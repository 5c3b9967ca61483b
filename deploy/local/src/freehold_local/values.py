"""Checks of the settings' values, made before anything that runs is stopped."""

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from freehold.settings import ServiceSettings, SettingsError, TenantSettings
from freehold_local.errors import StackError
from freehold_local.settings import SERVICE_SETTINGS
from freehold_tenant_manager.settings import Settings as TenantManagerSettings
from freehold_tenant_manager.storage.kms import KeyManagementError, LocalKeyFile

# For the catalog, operations, and a person's own sessions.
OTHER_CONNECTIONS = 40


def check_values(environments: Mapping[str, Mapping[str, str]]) -> dict[str, ServiceSettings]:
    """Read each service's settings as the service does, and check that its folders can be written.

    Args:
        environments: The variables of each service, by its name.

    Returns:
        The settings, by service.

    Raises:
        StackError: Some are invalid; the message names each variable, its fault and the services.
    """
    settings = {}
    faults: dict[str, list[str]] = {}
    for service, environment in environments.items():
        try:
            settings[service] = SERVICE_SETTINGS[service].read(environment)
        except SettingsError as error:
            for fault in error.faults:
                faults.setdefault(fault, []).append(service)
    if faults:
        lines = [f"{fault} ({', '.join(services)})" for fault, services in faults.items()]
        raise StackError("\n".join([*lines, "Nothing was changed."]))
    manager = settings["tenant-manager"]
    if isinstance(manager, TenantManagerSettings):
        _check_folders(manager)
    return settings


def connections_wanted(settings: Mapping[str, ServiceSettings]) -> int:
    """The most connections to Postgres that all services together may open."""
    wanted = OTHER_CONNECTIONS
    for service in settings.values():
        if isinstance(service, TenantSettings):
            wanted += service.connections_max
        elif isinstance(service, TenantManagerSettings):
            wanted += service.archive_connections_max + service.tenant_connections_max
            wanted += service.catalog_connections_max
    return wanted


def check_connections(wanted: int, allowed: int) -> None:
    """Check the services' connections against the private server's limit.

    Raises:
        StackError: The server allows too few.
    """
    if wanted > allowed:
        raise StackError(
            f"The services may open {wanted} connections to Postgres, and it allows {allowed}: "
            "lower FREEHOLD_CONNECTIONS_MAX (of ingest, projector and query each), "
            "FREEHOLD_ARCHIVE_CONNECTIONS_MAX, FREEHOLD_TENANT_CONNECTIONS_MAX or "
            "FREEHOLD_CATALOG_CONNECTIONS_MAX.\nNothing was changed."
        )


def _check_folders(manager: TenantManagerSettings) -> None:
    storage = urlsplit(manager.storage_url)
    if storage.scheme == "file":
        _check_writable("FREEHOLD_STORAGE_URL", Path(unquote(storage.path)))
    if manager.kms_aws_key is not None:
        return
    file = manager.kms_key_file
    if not file.exists():
        _check_writable("FREEHOLD_KMS_KEY_FILE", file.parent)
        return
    try:
        asyncio.run(LocalKeyFile(file).is_current(""))
    except KeyManagementError as error:
        raise StackError(f"FREEHOLD_KMS_KEY_FILE: {error}\nNothing was changed.") from error


def _check_writable(name: str, folder: Path) -> None:
    # Made as tenant-manager makes it. An existing folder may be on a full or read-only disk.
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        raise StackError(
            f"{name}: {folder} cannot be written to: {error.strerror}\nNothing was changed."
        ) from error
