"""The command: its options, and its steps in order."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import httpx
import typer

from freehold_cli.connection import Connection, refusal, unreached
from freehold_cli.errors import CliError, ExitCode, UnansweredError
from freehold_cli.export.progress import showing
from freehold_cli.files import STDOUT, writing
from freehold_cli.options import AsJson, MaybeTenantId
from freehold_cli.output import shown_size, write_json, write_message
from freehold_cli.service import json_errors

# Between two pieces. A busy server may take long for the first.
_TIMEOUT = httpx.Timeout(300, connect=10)
_PIECE_BYTES = 2**18


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
    size = 0
    with (
        json_errors(as_json),
        writing(file, overwrite=overwrite) as stream,
        _answer(tenant, written_as) as answer,
        showing() as shown,
    ):
        for piece in _pieces(answer):
            stream.write(piece)
            size += len(piece)
            shown(size)
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


@contextmanager
def _answer(tenant: str | None, written_as: Format) -> Iterator[httpx.Response]:
    """Request the export, as the operator or as the tenant.

    Raises:
        CliError: Tenant-manager refuses, or does not answer.
    """
    connection = Connection.from_environment()
    as_whom = (
        connection.tenant_manager() if tenant is not None else connection.tenant_manager_as_tenant()
    )
    path = "/v1/export" if tenant is None else f"/v1/tenants/{tenant}/export"
    with as_whom as client:
        try:
            with client.stream(
                "GET", path, params={"format": written_as}, timeout=_TIMEOUT
            ) as answer:
                if answer.is_error:
                    answer.read()
                    raise refusal(client, answer)
                yield answer
        except httpx.TransportError as error:
            raise UnansweredError(unreached(client.base_url, error)) from error


def _pieces(answer: httpx.Response) -> Iterator[bytes]:
    try:
        yield from answer.iter_bytes(_PIECE_BYTES)
    except httpx.TransportError as error:
        raise UnansweredError(
            f"{answer.url} broke off before the end. Nothing is kept of it; try again."
        ) from error
