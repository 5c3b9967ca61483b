"""Settings and clients of the services. No secret is ever a command-line argument."""

import ipaddress
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Self

import httpx
import typer
from pydantic import AfterValidator, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from freehold.contracts.problems import ProblemDocument
from freehold.security.api_keys import Scope
from freehold_cli.errors import CliError, ExitCode, UnansweredError
from freehold_cli.output import write_error

LOCAL_STACK = Path(".local/freehold.env")

COME_AGAIN = frozenset({408, 429, 502, 503, 504})
"""Statuses of a busy service, or of a proxy before one that is away."""

_PREFIX = "FREEHOLD_"
_LENT_FOR = timedelta(hours=12)
_INTERRUPTS = {signal.SIGINT, signal.SIGTERM}
# Longer than a service takes to give up on what it waits for itself.
_TIMEOUT = httpx.Timeout(60, connect=10)
_OPERATOR_TOKEN = f"{_PREFIX}OPERATOR_TOKEN"
_API_KEY = f"{_PREFIX}API_KEY"
_HINTS = {
    401: "\nIs the right credential in {credential}, for the Freehold at this address?",
    429: "\nTry again in a moment.",
    503: "\nTry again in a moment.",
}


def _base_url(text: str) -> str:
    url = httpx.URL(text)
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("is to look like https://host:port")
    return text.rstrip("/")


_Url = Annotated[str, AfterValidator(_base_url)]

_SERVICES = ("tenant-manager", "ingest", "query", "projector")


class ServiceClient(httpx.Client):
    """A client of one service, which can say where it and its credential are set.

    Args:
        url: The service's address.
        setting: The field of Connection with the address.
        bearer: The key or token.
        credential: The variable that the key or token is in.

    Raises:
        CliError: The key or token has characters that no header can hold.
    """

    def __init__(self, url: str, setting: str, bearer: str, credential: str) -> None:
        if not (bearer.isascii() and bearer.isprintable()):
            raise CliError("A key or token is made of printable ASCII characters.", ExitCode.USAGE)
        super().__init__(
            headers={"Authorization": f"Bearer {bearer}"}, timeout=_TIMEOUT, **reaching(url)
        )
        self.setting = f"{_PREFIX}{setting.upper()}"
        self.credential = credential


class Connection(BaseSettings):
    """URLs and credentials. The field `api_key` is the variable FREEHOLD_API_KEY."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, frozen=True, extra="ignore", env_ignore_empty=True
    )

    tenant_manager_url: _Url = "http://127.0.0.1:8080"
    ingest_url: _Url = "http://127.0.0.1:8081"
    query_url: _Url = "http://127.0.0.1:8082"
    projector_url: _Url = "http://127.0.0.1:8083"
    api_key: SecretStr | None = None
    operator_token: SecretStr | None = None
    operator_token_file: Path | None = None

    @classmethod
    def from_environment(cls) -> Self:
        """Read the variables. Without any URL, the rest comes from the stack of this folder.

        So a token kept in this folder is never sent to another Freehold.

        Raises:
            CliError: A variable has an invalid value.
        """
        elsewhere = any(
            os.environ.get(f"{_PREFIX}{name}".upper())
            for name in cls.model_fields
            if name.endswith("_url")
        )
        try:
            return cls(_env_file=None if elsewhere else LOCAL_STACK)
        except ValidationError as error:
            faults = [
                f"{_PREFIX}{'_'.join(map(str, fault['loc'])).upper()} "
                + fault["msg"].removeprefix("Value error, ")
                for fault in error.errors(include_input=False)
            ]
            raise CliError("\n".join(faults), ExitCode.USAGE) from None

    def service_urls(self) -> dict[str, str | None]:
        """Give each service's address by its name; None where only others are set.

        The defaults belong together: a service of this machine is no part of a Freehold elsewhere.
        """
        fields = {name: f"{name.replace('-', '_')}_url" for name in _SERVICES}
        is_default = not self.model_fields_set & set(fields.values())
        return {
            name: getattr(self, field) if is_default or field in self.model_fields_set else None
            for name, field in fields.items()
        }

    @contextmanager
    def ingest(self, tenant_id: str | None, key_file: Path | None) -> Iterator[ServiceClient]:
        """Open a client of ingest: with the given key, or with a temporary key from tenant-manager.

        Args:
            tenant_id: The tenant; optional with a given key.
            key_file: A file with the key, in place of FREEHOLD_API_KEY.

        Raises:
            CliError: There is no credential, or tenant-manager makes no key.
        """
        key = self._given_key(key_file)
        if key is not None:
            with ServiceClient(self.ingest_url, "ingest_url", key, _API_KEY) as client:
                yield client
            return
        if self._operator_token() is None or tenant_id is None:
            raise CliError(
                f"Set {_API_KEY} (or --api-key-file) to a key with the scope ingest, or set "
                f"{_OPERATOR_TOKEN} and name the tenant with --tenant.",
                ExitCode.USAGE,
            )
        with (
            self._lent_key(tenant_id, Scope.INGEST, "freehold import") as key,
            ServiceClient(self.ingest_url, "ingest_url", key, _OPERATOR_TOKEN) as client,
        ):
            yield client

    @contextmanager
    def query(self, tenant_id: str | None, key_file: Path | None) -> Iterator[ServiceClient]:
        """Open a client of query: as the operator for a named tenant, else with the tenant's key.

        Args:
            tenant_id: The tenant; None for that of the key.
            key_file: A file with the key, in place of FREEHOLD_API_KEY.

        Raises:
            CliError: There is no credential, or two, or tenant-manager makes no key.
        """
        if tenant_id is None:
            key = self._given_key(key_file)
            if key is None:
                raise CliError(
                    f"Set {_API_KEY} (or --api-key-file) to a key with the scope read, or name the"
                    f" tenant with --tenant and set {_OPERATOR_TOKEN}.",
                    ExitCode.USAGE,
                )
            with ServiceClient(self.query_url, "query_url", key, _API_KEY) as client:
                yield client
            return
        if key_file is not None:
            raise CliError(
                "Give --tenant, to read as the operator, or --api-key-file.", ExitCode.USAGE
            )
        with (
            self._lent_key(tenant_id, Scope.READ, "freehold, to read") as key,
            ServiceClient(self.query_url, "query_url", key, _OPERATOR_TOKEN) as client,
        ):
            yield client

    @contextmanager
    def tenant_manager(self, *, asking: bool = True) -> Iterator[ServiceClient]:
        """Open a client of tenant-manager as the operator.

        Args:
            asking: Whether to prompt for a missing token at a terminal.

        Raises:
            CliError: There is no token.
        """
        token = self._operator_token()
        if token is None and asking and sys.stdin.isatty():
            token = typer.prompt("Operator token", hide_input=True, err=True).strip()
        if not token:
            raise CliError(
                f"Set {_OPERATOR_TOKEN} to the operator's token, or {_OPERATOR_TOKEN}_FILE to a"
                " file with it.",
                ExitCode.USAGE,
            )
        with ServiceClient(
            self.tenant_manager_url, "tenant_manager_url", token, _OPERATOR_TOKEN
        ) as client:
            yield client

    @contextmanager
    def tenant_manager_as_tenant(self) -> Iterator[ServiceClient]:
        """Open a client of tenant-manager as the tenant whose key is in FREEHOLD_API_KEY.

        Raises:
            CliError: There is no key.
        """
        key = _secret(self.api_key)
        if key is None:
            raise CliError(
                f"Name the tenant, or set {_API_KEY} to one of their keys.", ExitCode.USAGE
            )
        with ServiceClient(self.tenant_manager_url, "tenant_manager_url", key, _API_KEY) as client:
            yield client

    def _given_key(self, file: Path | None) -> str | None:
        return _secret(self.api_key) if file is None else _read_secret(file)

    def _operator_token(self) -> str | None:
        token = _secret(self.operator_token)
        if token is None and self.operator_token_file is not None:
            return _read_secret(self.operator_token_file)
        return token

    @contextmanager
    def _lent_key(self, tenant_id: str, scope: Scope, label: str) -> Iterator[str]:
        """Have tenant-manager make a key of a tenant's, which is revoked at the end."""
        keys = f"/v1/tenants/{tenant_id}/api-keys"
        expires_at = (datetime.now(UTC) + _LENT_FOR).isoformat()
        wanted = {"scopes": [scope], "expires_at": expires_at, "label": label}
        made = None
        with self.tenant_manager() as manager:
            # An interrupt waits until it is known which key has to be revoked.
            signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
            try:
                made = ask(manager, "POST", keys, wanted).json()
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)
                yield made["api_key"]
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)
                if made is not None:
                    _revoke(manager, f"{keys}/{made['key_id']}", made["expires_at"])


def _revoke(manager: ServiceClient, key: str, expires_at: str) -> None:
    try:
        ask(manager, "DELETE", key)
    except CliError as error:
        write_error(
            f"The lent key {key.rpartition('/')[2]} could not be revoked. It ends by itself at"
            f" {expires_at}.\n{error}"
        )


def refused(answer: httpx.Response) -> str:
    """Describe a refusal, by its problem document where there is one."""
    problem = _problem(answer)
    if problem is None:
        return f"{answer.url} answered {answer.status_code}, and not as a Freehold does."
    # The detail names the first broken rule; where there are more, each is named.
    rules = (problem.errors or [])[1:]
    more = "".join(f"\n{rule.pointer.removeprefix('/')}: {rule.detail}" for rule in rules)
    return f"{answer.url} answered {problem.status}: {problem.detail}{more}"


def refusal(client: ServiceClient, answer: httpx.Response) -> CliError:
    """Make the error for a refused request."""
    problem = _problem(answer)
    kind = UnansweredError if answer.status_code in COME_AGAIN else CliError
    hint = (
        ""
        if problem is None
        else _HINTS.get(answer.status_code, "").format(credential=client.credential)
    )
    return kind(
        refused(answer) + hint,
        problem=None if problem is None else problem.model_dump(mode="json", exclude_unset=True),
    )


def _problem(answer: httpx.Response) -> ProblemDocument | None:
    try:
        return ProblemDocument.model_validate_json(answer.content)
    except ValidationError:
        return None


def unreached(url: httpx.URL | str, error: httpx.TransportError) -> str:
    """Describe a service that does not answer."""
    return f"{url} does not answer ({str(error) or type(error).__name__})."


def ask(
    client: ServiceClient,
    method: str,
    path: str,
    body: object = None,
    params: Mapping[str, str | int] | None = None,
) -> httpx.Response:
    """Send a request, once.

    Raises:
        UnansweredError: There was no answer, or it was that there is too much to do.
        CliError: The request was refused.
    """
    try:
        answer = client.request(method, path, json=body, params=params)
    except httpx.TransportError as error:
        raise UnansweredError(
            f"{unreached(client.base_url, error)}\nIs it there? {client.setting} says where it is"
            " looked for."
        ) from error
    if answer.is_error:
        raise refusal(client, answer)
    return answer


def reaching(url: str) -> dict[str, Any]:
    """Give the options of a client of the service at a URL."""
    target = httpx.URL(url)
    return {
        "base_url": url,
        # A proxy is for the world outside.
        "trust_env": not _is_this_machine(target.host),
        # Certificates take 20 ms to load, and redirects, which could lead to TLS, are not followed.
        "verify": target.scheme == "https",
    }


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read_secret(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise CliError(f"{file} cannot be read as a key: {error}", ExitCode.USAGE) from error


def _secret(value: SecretStr | None) -> str | None:
    return None if value is None else value.get_secret_value()
