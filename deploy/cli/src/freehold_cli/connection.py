"""How a command reaches a Freehold, and what it shows there. No secret is ever an argument."""

import ipaddress
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Self

import httpx
import typer
from pydantic import AfterValidator, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from freehold.contracts.problems import ProblemDocument
from freehold.security.api_keys import Scope
from freehold_cli.errors import CliError, ExitCode, UnansweredError
from freehold_cli.output import tell_error

LOCAL_STACK = Path(".local/freehold.env")

COME_AGAIN = frozenset({408, 429, 502, 503, 504})
"""Answered by who has too much to do now, or by whatever stands before one who is away."""

_PREFIX = "FREEHOLD_"
_LENT_FOR = timedelta(hours=12)
# Longer than a service takes to give up on what it waits for itself.
_TIMEOUT = httpx.Timeout(60, connect=10)
_HINTS = {
    401: f"\nIs the right token in {_PREFIX}OPERATOR_TOKEN, for the Freehold at this address?",
    429: "\nTry again in a moment.",
    503: "\nTry again in a moment.",
}


def _base_url(text: str) -> str:
    url = httpx.URL(text)
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("is to look like https://host:port")
    return text.rstrip("/")


_Url = Annotated[str, AfterValidator(_base_url)]


class Connection(BaseSettings):
    """Where the services are, and who asks. A field `api_key` is the variable FREEHOLD_API_KEY."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, frozen=True, extra="ignore", env_ignore_empty=True
    )

    tenant_manager_url: _Url = "http://127.0.0.1:8080"
    ingest_url: _Url = "http://127.0.0.1:8081"
    api_key: SecretStr | None = None
    operator_token: SecretStr | None = None
    operator_token_file: Path | None = None

    @classmethod
    def from_environment(cls) -> Self:
        """Read it; where no URL is set, what is missing comes from the stack of this folder.

        A token kept in this folder is thus never shown to a Freehold elsewhere.

        Raises:
            CliError: A setting has a value that cannot be meant.
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

    @contextmanager
    def ingest(self, tenant_id: str | None, key_file: Path | None) -> Iterator[httpx.Client]:
        """Have a client of ingest: with the key that is given, or with one lent for as long.

        Args:
            tenant_id: Whose ledger is meant; for a key that is given it need not be said.
            key_file: A file with the key.

        Raises:
            CliError: There is nothing to show to ingest, or tenant-manager lends no key.
        """
        key = _read_secret(key_file) if key_file is not None else _secret(self.api_key)
        if key is not None:
            with _client(self.ingest_url, key) as client:
                yield client
            return
        token = self._operator_token()
        if token is None or tenant_id is None:
            raise CliError(
                f"Set {_PREFIX}API_KEY (or --api-key-file) to a key with the scope ingest, or set "
                f"{_PREFIX}OPERATOR_TOKEN and name the tenant with --tenant.",
                ExitCode.USAGE,
            )
        with (
            _client(self.tenant_manager_url, token) as manager,
            _lent_key(manager, tenant_id) as key,
            _client(self.ingest_url, key) as client,
        ):
            yield client

    @contextmanager
    def tenant_manager(self, *, asking: bool = True) -> Iterator[httpx.Client]:
        """Have a client of tenant-manager, as the operator.

        Args:
            asking: Whether a person at the terminal may be asked for a token that is missing.

        Raises:
            CliError: There is no token.
        """
        token = self._operator_token()
        if token is None and asking and sys.stdin.isatty():
            token = typer.prompt("Operator token", hide_input=True, err=True).strip()
        if not token:
            raise CliError(
                f"Set {_PREFIX}OPERATOR_TOKEN to the operator's token, or "
                f"{_PREFIX}OPERATOR_TOKEN_FILE to a file with it.",
                ExitCode.USAGE,
            )
        with _client(self.tenant_manager_url, token) as client:
            yield client

    @contextmanager
    def tenant_manager_as_tenant(self) -> Iterator[httpx.Client]:
        """Have a client of tenant-manager, as the tenant whose key is in the environment.

        Raises:
            CliError: There is no key.
        """
        key = _secret(self.api_key)
        if key is None:
            raise CliError(
                f"Name the tenant, or set {_PREFIX}API_KEY to one of their keys.", ExitCode.USAGE
            )
        with _client(self.tenant_manager_url, key) as client:
            yield client

    def _operator_token(self) -> str | None:
        token = _secret(self.operator_token)
        if token is None and self.operator_token_file is not None:
            return _read_secret(self.operator_token_file)
        return token


def refused(answer: httpx.Response) -> str:
    """Say why a service refused a request, in its own words where it is one of ours."""
    problem = _problem(answer)
    if problem is None:
        return f"{answer.url} answered {answer.status_code}, and not as a Freehold does."
    # The detail names the first broken rule; where there are more, each is named.
    rules = (problem.errors or [])[1:]
    more = "".join(f"\n{rule.pointer.removeprefix('/')}: {rule.detail}" for rule in rules)
    return f"{answer.url} answered {problem.status}: {problem.detail}{more}"


def refusal(answer: httpx.Response) -> CliError:
    """Make the error that ends a command where a service refused a request."""
    problem = _problem(answer)
    kind = UnansweredError if answer.status_code in COME_AGAIN else CliError
    hint = "" if problem is None else _HINTS.get(answer.status_code, "")
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
    """Say that a service could not be asked."""
    return f"{url} does not answer ({str(error) or type(error).__name__})."


@contextmanager
def _lent_key(manager: httpx.Client, tenant_id: str) -> Iterator[str]:
    keys = f"/v1/tenants/{tenant_id}/api-keys"
    wanted = {
        "scopes": [Scope.INGEST],
        "expires_at": (datetime.now(UTC) + _LENT_FOR).isoformat(),
    }
    made = ask(manager, "POST", keys, wanted).json()
    try:
        yield made["api_key"]
    finally:
        try:
            ask(manager, "DELETE", f"{keys}/{made['key_id']}")
        except CliError as error:
            tell_error(
                f"The lent key {made['key_id']} could not be revoked. It ends by itself at "
                f"{made['expires_at']}.\n{error}"
            )


def ask(
    client: httpx.Client,
    method: str,
    path: str,
    body: object = None,
    params: Mapping[str, str | int] | None = None,
) -> httpx.Response:
    """Send a request to tenant-manager, once.

    Raises:
        UnansweredError: There was no answer, or it was that there is too much to do.
        CliError: The request was refused.
    """
    try:
        answer = client.request(method, path, json=body, params=params)
    except httpx.TransportError as error:
        raise UnansweredError(
            f"{unreached(client.base_url, error)}\nIs it there? {_PREFIX}TENANT_MANAGER_URL says"
            " where it is looked for."
        ) from error
    if answer.is_error:
        raise refusal(answer)
    return answer


def _client(url: str, bearer: str) -> httpx.Client:
    if not (bearer.isascii() and bearer.isprintable()):
        raise CliError("A key or token is made of printable ASCII characters.", ExitCode.USAGE)
    return httpx.Client(
        base_url=url,
        headers={"Authorization": f"Bearer {bearer}"},
        timeout=_TIMEOUT,
        # A proxy is for the world outside.
        trust_env=not _is_this_machine(httpx.URL(url).host),
    )


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
