"""Services, asked as the operator or as a tenant, with the credentials of the settings."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import typer

from freehold.security.api_keys import Scope
from freehold_cli.errors import CliError, ExitCode
from freehold_cli.output import write_error, write_json
from freehold_cli.service import Service
from freehold_cli.settings import Settings

_LENT_FOR = timedelta(hours=12)
_INTERRUPTS = {signal.SIGINT, signal.SIGTERM}


@contextmanager
def managing(*, as_json: bool) -> Iterator[Service]:
    """Connect to tenant-manager as the operator. Errors are printed as JSON, too, with `as_json`.

    Raises:
        CliError: There is no token.
    """
    with json_errors(as_json), tenant_manager(Settings.from_environment()) as manager:
        yield manager


@contextmanager
def reading(tenant_id: str | None, key_file: Path | None, *, as_json: bool) -> Iterator[Service]:
    """Connect to query: as the operator for a named tenant, else with the tenant's key.

    Args:
        tenant_id: The tenant; None for that of the key.
        key_file: A file with the key, in place of FREEHOLD_API_KEY.
        as_json: Whether errors are printed as JSON, too.

    Raises:
        CliError: There is no credential, or two, or tenant-manager makes no key.
    """
    with json_errors(as_json):
        settings = Settings.from_environment()
        if tenant_id is None:
            key = settings.key(key_file)
            if key is None:
                raise CliError(
                    "Set FREEHOLD_API_KEY (or --api-key-file) to a key with the scope read, or name"
                    " the tenant with --tenant and set FREEHOLD_OPERATOR_TOKEN.",
                    ExitCode.USAGE,
                )
            with Service("query", settings.query_url, "api_key", key) as query:
                yield query
            return
        if key_file is not None:
            raise CliError(
                "Give --tenant, to read as the operator, or --api-key-file.", ExitCode.USAGE
            )
        with (
            _lent_key(settings, tenant_id, Scope.READ, "freehold, to read") as key,
            Service("query", settings.query_url, "api_key", key) as query,
        ):
            yield query


@contextmanager
def importing(tenant_id: str | None, key_file: Path | None) -> Iterator[Service]:
    """Connect to ingest: with the given key, or with a temporary key from tenant-manager.

    Args:
        tenant_id: The tenant; optional with a given key.
        key_file: A file with the key, in place of FREEHOLD_API_KEY.

    Raises:
        CliError: There is no credential, or tenant-manager makes no key.
    """
    settings = Settings.from_environment()
    key = settings.key(key_file)
    if key is not None:
        with Service("ingest", settings.ingest_url, "api_key", key) as ingest:
            yield ingest
        return
    if settings.token() is None or tenant_id is None:
        raise CliError(
            "Set FREEHOLD_API_KEY (or --api-key-file) to a key with the scope ingest, or set"
            " FREEHOLD_OPERATOR_TOKEN and name the tenant with --tenant.",
            ExitCode.USAGE,
        )
    with (
        _lent_key(settings, tenant_id, Scope.INGEST, "freehold import") as key,
        Service("ingest", settings.ingest_url, "api_key", key) as ingest,
    ):
        yield ingest


def tenant_manager(
    settings: Settings, *, asking: bool = True, timeout_s: float | None = None
) -> Service:
    """Give tenant-manager, asked as the operator.

    Args:
        settings: The settings.
        asking: Whether to prompt for a missing token at a terminal.
        timeout_s: How long to wait for it, where not as long as usual.

    Raises:
        CliError: There is no token.
    """
    token = settings.token()
    if token is None and asking and sys.stdin.isatty():
        token = typer.prompt("Operator token", hide_input=True, err=True).strip()
    if not token:
        raise CliError(
            "Set FREEHOLD_OPERATOR_TOKEN to the operator's token, or FREEHOLD_OPERATOR_TOKEN_FILE"
            " to a file with it.",
            ExitCode.USAGE,
        )
    more = {} if timeout_s is None else {"timeout_s": timeout_s}
    url = settings.tenant_manager_url
    return Service("tenant_manager", url, "operator_token", token, **more)


def tenant_manager_as_tenant(settings: Settings) -> Service:
    """Give tenant-manager, asked as the tenant whose key is in FREEHOLD_API_KEY.

    Raises:
        CliError: There is no key.
    """
    key = settings.key()
    if key is None:
        raise CliError(
            "Name the tenant, or set FREEHOLD_API_KEY to one of their keys.", ExitCode.USAGE
        )
    return Service("tenant_manager", settings.tenant_manager_url, "api_key", key)


@contextmanager
def json_errors(as_json: bool) -> Iterator[None]:
    """With `as_json`, print an error that ends a command as a JSON result as well."""
    try:
        yield
    except CliError as error:
        if as_json:
            write_json({"error": str(error), "problem": error.problem})
        raise


@contextmanager
def _lent_key(settings: Settings, tenant_id: str, scope: Scope, label: str) -> Iterator[str]:
    """Have tenant-manager make a key of a tenant's, which is revoked at the end."""
    keys = ("tenants", tenant_id, "api-keys")
    expires_at = (datetime.now(UTC) + _LENT_FOR).isoformat()
    wanted = {"scopes": [scope], "expires_at": expires_at, "label": label}
    made = None
    with tenant_manager(settings) as manager:
        # An interrupt waits until it is known which key has to be revoked.
        signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
        try:
            made = manager.post(*keys, body=wanted)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)
            yield made["api_key"]
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)
            if made is not None:
                _revoke(manager, (*keys, made["key_id"]), made["expires_at"])


def _revoke(manager: Service, key: tuple[str, ...], expires_at: str) -> None:
    try:
        manager.delete(*key)
    except CliError as error:
        write_error(
            f"The temporary key {key[-1]} could not be revoked. It ends by itself at"
            f" {expires_at}.\n{error}"
        )
