"""Arguments and options that many commands have, each described once."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from freehold.contracts.fields import TENANT_ID_PATTERN
from freehold_cli.connection import tenant_manager
from freehold_cli.errors import CliError
from freehold_cli.service import PAGE_ENTRIES
from freehold_cli.settings import Settings

_TENANT_ID = re.compile(TENANT_ID_PATTERN)
_COMPLETION_TIMEOUT_S = 2.0


def _tenant_id(text: str | None) -> str | None:
    if text is not None and not _TENANT_ID.fullmatch(text):
        raise typer.BadParameter(
            "a tenant's id has 2 to 63 of the characters a-z, 0-9 and -, the first a letter"
        )
    return text


def _known_tenants(incomplete: str) -> list[str]:
    """List the tenants whose ids begin so. At a shell's prompt, errors give an empty list."""
    try:
        settings = Settings.from_environment()
        with tenant_manager(settings, asking=False, timeout_s=_COMPLETION_TIMEOUT_S) as manager:
            page = manager.get("tenants", params={"limit": PAGE_ENTRIES})
            names = [tenant["tenant_id"] for tenant in page["data"]]
    except (CliError, ValueError, LookupError):
        return []
    return [name for name in names if name.startswith(incomplete)]


def parsed_time(text: str) -> str:
    """Convert a person's time to RFC 3339 in UTC.

    Raises:
        typer.BadParameter: The text is no time, or has no time zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise typer.BadParameter(f"{text!r} is no time with its zone, such as 2026-03-01T12:00:00Z")
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parsed_times(**times: str | None) -> dict[str, str | None]:
    """Convert those times that are given; see `parsed_time`.

    Raises:
        typer.BadParameter: One is no time, or has no time zone.
    """
    return {name: None if text is None else parsed_time(text) for name, text in times.items()}


_TENANT = typer.Argument(
    help="The tenant's id.", callback=_tenant_id, autocompletion=_known_tenants
)
TenantId = Annotated[str, _TENANT]
MaybeTenantId = Annotated[str | None, _TENANT]
OfTenant = Annotated[
    str | None,
    typer.Option(
        "--tenant",
        help="Read as the operator, this tenant's ledger. Left out: that of the API key.",
        callback=_tenant_id,
        autocompletion=_known_tenants,
    ),
]
ApiKeyFile = Annotated[
    Path | None, typer.Option(help="A file with an API key, in place of FREEHOLD_API_KEY.")
]
Since = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="From this time on, inclusive.")
]
Until = Annotated[str | None, typer.Option("--to", metavar="TIME", help="Before this time.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Print the operation and do not wait for its end.")
]
