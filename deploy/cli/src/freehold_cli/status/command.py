"""The command: what it asks, and its steps in order."""

from datetime import UTC, datetime, timedelta

import typer

from freehold_cli.connection import json_errors, tenant_manager
from freehold_cli.errors import CliError, ExitCode
from freehold_cli.options import AsJson
from freehold_cli.output import write_json
from freehold_cli.service import Document, Service
from freehold_cli.settings import Settings
from freehold_cli.status.judgement import faults
from freehold_cli.status.report import write_report
from freehold_cli.status.services import ask_services

_RECENT = timedelta(days=1)
_OPERATIONS_MAX = 1000


def status(as_json: AsJson = False) -> None:
    """Show whether all is well: services, tenants, lag, backups, versions, operations.

    Exits with 0 only if all services that were asked are ready and nothing else is amiss: no
    database or broker is silent, no balances are more than 60 s behind or differ from their ledger,
    no backup or trial restore is late or damaged, no doorbell is parked, no ledger is too old, and
    no operation failed within a day without being begun again. Else it exits with 1.

    Examples:
        freehold status
        freehold status --json | jq .faults
    """
    settings = Settings.from_environment()
    services = ask_services(settings.service_urls())
    found = [f"{each.service} is not ready" for each in services if each.ready is False]
    installation: Document | None = None
    with json_errors(as_json), tenant_manager(settings) as manager:
        try:
            installation = _installation(manager)
        except CliError as error:
            found.append(f"what tenant-manager knows cannot be shown: {error}")
        else:
            found += faults(installation)
    if as_json:
        write_json(
            {
                "ok": not found,
                "faults": found,
                "services": [each.document() for each in services],
                "installation": installation,
            }
        )
    else:
        write_report(services, installation, found)
    if found:
        raise typer.Exit(ExitCode.REJECTED)


def _installation(manager: Service) -> Document:
    """Ask tenant-manager for the state of tenants, versions and operations."""
    versions = manager.get("migrations", params={"limit": 1})
    operations = {
        status: _operations(manager, status)
        for status in ("queued", "running", "failed", "succeeded")
    }
    return {
        "overview": manager.get("overview"),
        "ledger_version": versions["ledger_version"],
        "ledger_version_min": versions["ledger_version_min"],
        "ledger_versions": versions["versions"],
        "queued": operations["queued"],
        "running": operations["running"],
        "failed": _failed_for_good([each for all_ in operations.values() for each in all_]),
    }


def _operations(manager: Service, status: str) -> list[Document]:
    page = manager.get("operations", params={"status": status, "limit": _OPERATIONS_MAX})
    operations: list[Document] = page["data"]
    return operations


def _failed_for_good(operations: list[Document]) -> list[Document]:
    """Give the operations that failed within a day and were not begun again since."""
    last: dict[tuple[str, str | None], Document] = {}
    for operation in sorted(operations, key=lambda each: str(each["created_at"])):
        last[operation["kind"], operation["tenant_id"]] = operation
    since = datetime.now(UTC) - _RECENT
    return [
        each
        for each in last.values()
        if each["status"] == "failed" and datetime.fromisoformat(each["finished_at"]) > since
    ]
