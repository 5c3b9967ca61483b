"""The passwords, tokens and keys of a stack, made once and kept in one file of mode 0600."""

import base64
import json
import secrets
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from freehold_local.errors import StackError
from freehold_local.folders import write_whole


def _password() -> str:
    return secrets.token_urlsafe(24)


def _credential_keys() -> str:
    return f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The secrets of a stack.

    Attributes:
        tenant_manager_password: Of tenant-manager's role in the private Postgres.
        ingest_password: Of ingest's role in the catalog.
        projector_password: Of projector's role in the catalog.
        query_password: Of query's role in the catalog.
        operator_token: The bearer token of operators.
        credential_keys: Encrypts the tenants' database passwords, which are lost without it.
        supervisor_password: For our own calls to the supervisor.
    """

    tenant_manager_password: str = field(default_factory=_password)
    ingest_password: str = field(default_factory=_password)
    projector_password: str = field(default_factory=_password)
    query_password: str = field(default_factory=_password)
    operator_token: str = field(default_factory=_password)
    credential_keys: str = field(default_factory=_credential_keys)
    supervisor_password: str = field(default_factory=_password)


def kept_credentials(file: Path) -> Credentials | None:
    """The credentials in a file; None where there is no file.

    Raises:
        StackError: The file was not written by this program.
    """
    try:
        kept = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise _unreadable(file, str(error)) from error
    names = {field.name for field in fields(Credentials)}
    # Any other can be made anew. Without these keys the tenants' passwords are lost.
    if not isinstance(kept, dict) or not {"credential_keys"} <= kept.keys() <= names:
        raise _unreadable(file, "it does not hold credential_keys, or something else beside them")
    if not all(isinstance(value, str) and value for value in kept.values()):
        raise _unreadable(file, "one of its values is no text")
    return Credentials(**kept)


def keep_credentials(file: Path, credentials: Credentials) -> None:
    """Write credentials, unless the file has them already."""
    if kept_credentials(file) != credentials:
        write_whole(file, json.dumps(asdict(credentials), indent=2) + "\n", mode=0o600)


def _unreadable(file: Path, fault: str) -> StackError:
    return StackError(
        f"{file} cannot be read: {fault}.\n"
        "Put back the copy you have, or remove the whole folder and start afresh."
    )
