"""The command: its options, and its steps in order."""

import io
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, BinaryIO, cast

import typer

from freehold_cli.connection import json_errors, tenant_manager, tenant_manager_as_tenant
from freehold_cli.errors import CliError, ExitCode, UnansweredError
from freehold_cli.export.progress import showing
from freehold_cli.files import STDOUT, writing
from freehold_cli.options import AsJson, MaybeTenantId
from freehold_cli.output import shown_size, write_json, write_message
from freehold_cli.service import Service
from freehold_cli.settings import Settings


class Format(StrEnum):
    """How an export is written."""

    SQL = "sql"
    CUSTOM = "custom"


_SUFFIXES = {Format.SQL: ".sql", Format.CUSTOM: ".dump"}


def export(
    tenant: MaybeTenantId = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The file; - is standard output.", show_default="TENANT.sql"
        ),
    ] = None,
    written_as: Annotated[
        Format,
        typer.Option("--format", help="A SQL file for psql, or a custom one for pg_restore."),
    ] = Format.SQL,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that exists.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Download a tenant's whole ledger as one file.

    As SQL it restores into PostgreSQL 15 to 18, without Freehold.

    The file gets its name only when it is complete. Without TENANT it is the ledger of the key in
    FREEHOLD_API_KEY, which needs the scope export.

    Examples:
        freehold export acme
        freehold export acme -o - | zstd > acme.sql.zst
        freehold export --format custom -o ledger.dump
    """
    file = output or Path(f"{tenant or 'ledger'}{_SUFFIXES[written_as]}")
    if as_json and file == STDOUT:
        raise CliError("Standard output takes the file or the JSON, not both.", ExitCode.USAGE)
    began = time.monotonic()
    with (
        json_errors(as_json),
        writing(file, overwrite=overwrite) as stream,
        _asked(tenant) as manager,
        showing() as shown,
    ):
        size = _download(manager, tenant, written_as, _Counted(stream, shown))
    seconds = time.monotonic() - began
    if as_json:
        write_json(
            {
                "tenant_id": tenant,
                "file": str(file),
                "format": written_as,
                "bytes": size,
                "seconds": round(seconds, 3),
            }
        )
        return
    write_message(f"{file if file != STDOUT else 'Written'}: {shown_size(size)} in {seconds:.1f} s")


class _Counted(io.BufferedIOBase):
    """Hands on what is written, and shows how much it is so far."""

    def __init__(self, stream: BinaryIO, shown: Callable[[int], None]) -> None:
        self.size = 0
        self._stream = stream
        self._shown = shown

    def writable(self) -> bool:
        """Whether it can be written to."""
        return True

    def write(self, piece: Any, /) -> int:
        """Write a piece."""
        self._stream.write(piece)
        self.size += len(piece)
        self._shown(self.size)
        return len(piece)


def _asked(tenant: str | None) -> Service:
    """Connect to tenant-manager: as the operator for a named tenant, else as the tenant."""
    settings = Settings.from_environment()
    return tenant_manager_as_tenant(settings) if tenant is None else tenant_manager(settings)


def _download(manager: Service, tenant: str | None, written_as: Format, counted: _Counted) -> int:
    """Download the export, and give its size.

    Raises:
        CliError: Tenant-manager refuses, or does not answer to the end.
    """
    stream = cast("BinaryIO", counted)
    try:
        with manager.failures():
            if tenant is None:
                return manager.freehold.export_own_ledger(stream, file_format=written_as.value)
            return manager.freehold.export_ledger(stream, tenant, file_format=written_as.value)
    except UnansweredError as error:
        if not counted.size:
            raise
        raise UnansweredError(
            f"{manager.url} broke off before the end. Nothing is kept of it; try again."
        ) from error
