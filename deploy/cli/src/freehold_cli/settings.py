"""Settings: where the services are, and who asks. No secret is ever a command-line argument."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from freehold_cli.errors import CliError, ExitCode

LOCAL_STACK = Path(".local/freehold.env")

_PREFIX = "FREEHOLD_"
_SERVICES = ("tenant-manager", "ingest", "query", "projector")


def variable(setting: str) -> str:
    """Name the variable of a setting, as FREEHOLD_API_KEY of `api_key`."""
    return f"{_PREFIX}{setting.upper()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """URLs and credentials. The field `api_key` is the variable FREEHOLD_API_KEY."""

    tenant_manager_url: str = "http://127.0.0.1:8080"
    ingest_url: str = "http://127.0.0.1:8081"
    query_url: str = "http://127.0.0.1:8082"
    projector_url: str = "http://127.0.0.1:8083"
    api_key: str | None = field(default=None, repr=False)
    operator_token: str | None = field(default=None, repr=False)
    operator_token_file: str | None = None
    given: frozenset[str] = frozenset()
    """The fields that were set."""

    @classmethod
    def from_environment(cls) -> Self:
        """Read the variables. Without any URL, the rest comes from the stack of this folder.

        So a token kept in this folder is never sent to another Freehold.

        Raises:
            CliError: A variable has an invalid value.
            OSError: The stack's variables cannot be read.
        """
        found = _chosen(os.environ)
        if not any(name.endswith("_url") for name in found):
            found = _chosen(_local_stack()) | found
        for name, text in found.items():
            if name.endswith("_url"):
                found[name] = _base_url(variable(name), text)
        return cls(**found, given=frozenset(found))

    def service_urls(self) -> dict[str, str | None]:
        """Give each service's address by its name; None where only others are set.

        The defaults belong together: a service of this machine is no part of a Freehold elsewhere.
        """
        settings = {name: f"{name.replace('-', '_')}_url" for name in _SERVICES}
        is_default = self.given.isdisjoint(settings.values())
        return {
            name: getattr(self, setting) if is_default or setting in self.given else None
            for name, setting in settings.items()
        }

    def key(self, file: Path | None = None) -> str | None:
        """Give the API key: that of a file, where one is named.

        Raises:
            CliError: The file cannot be read.
        """
        return self.api_key if file is None else _read_secret(file)

    def token(self) -> str | None:
        """Give the operator's token.

        Raises:
            CliError: The file that is to have it cannot be read.
        """
        if self.operator_token is None and self.operator_token_file is not None:
            return _read_secret(Path(self.operator_token_file))
        return self.operator_token


def _chosen(variables: Mapping[str, str]) -> dict[str, Any]:
    """Give the settings that variables name. Empty ones count as unset."""
    names = [each.name for each in fields(Settings) if each.name != "given"]
    return {name: text for name in names if (text := variables.get(variable(name)))}


def _local_stack() -> dict[str, str]:
    """Read the variables of this folder's stack, as a shell would; none where it has no stack."""
    if not LOCAL_STACK.is_file():
        return {}
    lines = [line.partition("=") for line in LOCAL_STACK.read_text(encoding="utf-8").splitlines()]
    return {name: "".join(shlex.split(text)) for name, _, text in lines}


def _base_url(name: str, text: str) -> str:
    url = urlsplit(text)
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise CliError(f"{name} is to look like https://host:port", ExitCode.USAGE)
    return text.rstrip("/")


def _read_secret(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise CliError(f"{file} cannot be read as a key: {error}", ExitCode.USAGE) from error
