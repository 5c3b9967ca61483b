"""The passwords, tokens and keys of a stack: made once, kept in one file that only we can read."""

import base64
import json
import secrets
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from freehold_local.errors import StackError
from freehold_local.folders import write_whole


def _password() -> str:
    return secrets.token_urlsafe(24)


def _credential_keys() -> str:
    return f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the stack's parts prove themselves with.

    Attributes:
        tenant_manager_password: Of tenant-manager's role in the private Postgres.
        ingest_password: Of ingest's role in the catalog.
        projector_password: Of projector's role in the catalog.
        query_password: Of query's role in the catalog.
        operator_token: What an operator shows to tenant-manager.
        credential_keys: Encrypts the tenants' database passwords; without it they are lost.
        supervisor_password: For our own calls to the supervisor.
    """

    tenant_manager_password: str = field(default_factory=_password)
    ingest_password: str = field(default_factory=_password)
    projector_password: str = field(default_factory=_password)
    query_password: str = field(default_factory=_password)
    operator_token: str = field(default_factory=_password)
    credential_keys: str = field(default_factory=_credential_keys)
    supervisor_password: str = field(default_factory=_password)


def keep_credentials(file: Path, *, operator_token: str | None = None) -> Credentials:
    """The stack's credentials, made the first time.

    Args:
        file: Where they are kept.
        operator_token: The operator's own choice of a token, kept from now on.

    Raises:
        StackError: The file is not one that this program wrote.
    """
    try:
        kept = Credentials(**json.loads(file.read_text()))
    except FileNotFoundError:
        kept = None
    except (ValueError, TypeError) as error:
        raise StackError(
            f"{file} cannot be read ({error}).\n"
            "Put back the copy you have, or remove the whole folder and start afresh."
        ) from error
    wanted = kept or Credentials()
    if operator_token is not None:
        wanted = replace(wanted, operator_token=operator_token)
    if wanted != kept:
        write_whole(file, json.dumps(asdict(wanted), indent=2) + "\n", mode=0o600)
    return wanted
