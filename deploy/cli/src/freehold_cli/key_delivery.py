"""Delivery of a new API key, which is shown only once: it is written out, or revoked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import orjson
import typer

from freehold.security.api_keys import parse_api_key
from freehold_cli.errors import CliError
from freehold_cli.files import STDOUT, writing
from freehold_cli.output import write_json, write_line
from freehold_cli.service import Document, Service
from freehold_cli.streams import OutputError

KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="A new file for the key, for its owner alone. Left out: standard output.",
    ),
]


@contextmanager
def delivering(
    manager: Service, tenant: str, file: Path | None, *, as_json: bool
) -> Iterator[Callable[[Document], None]]:
    """Open the destination before the key is made, and give a function that writes to it.

    Args:
        manager: The client of tenant-manager.
        tenant: Whose key it is.
        file: The destination; None for stdout.
        as_json: Whether the whole answer is written instead of the key alone.

    Raises:
        CliError: The key cannot be written, and was revoked.
    """
    key_id: str | None = None

    def deliver(made: Document) -> None:
        nonlocal key_id
        text = made["api_key"]
        key = parse_api_key(text)
        key_id = key and key.key_id
        if stream is not None:
            stream.write(orjson.dumps(made) + b"\n" if as_json else f"{text}\n".encode())
        elif as_json:
            write_json(made)
        else:
            write_line(text)

    try:
        if file is None or file == STDOUT:
            stream = None
            yield deliver
        else:
            with writing(file, overwrite=False) as stream:
                yield deliver
    except BaseException as error:
        if key_id is None:
            raise
        reason = error.reason if isinstance(error, OutputError) else str(error)
        reason = reason.removesuffix(".") or type(error).__name__
        fate = _revoked(manager, tenant, key_id)
        raise CliError(
            f"The new key of {tenant} cannot be written ({reason}){fate} For another:"
            f" freehold keys create {tenant} --scope SCOPE"
        ) from error


def _revoked(manager: Service, tenant: str, key_id: str) -> str:
    """Revoke a key; say that it was revoked, or how to do it."""
    try:
        manager.delete("tenants", tenant, "api-keys", key_id)
    except CliError as error:
        return (
            f", and could not be revoked ({error}). Once that is possible:"
            f" freehold keys revoke {tenant} {key_id} --confirm {key_id}\n"
        )
    return ", so it was revoked."
