"""A client of tenant-manager: JSON documents in and out, lists read to their end."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx

from freehold_cli.connection import Connection, ask
from freehold_cli.errors import CliError
from freehold_cli.output import write_json

Document = dict[str, Any]

_PAGE_ENTRIES = 1000


class Manager:
    """Tenant-manager, asked as the operator."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def get(self, *path: str, params: Mapping[str, str | int] | None = None) -> Document:
        """Read the document at a path under /v1.

        Raises:
            CliError: Tenant-manager refuses, or does not answer.
        """
        return _document(ask(self._client, "GET", _path(path), params=params))

    def whole(self, *path: str, params: Mapping[str, str | int | None] | None = None) -> Document:
        """Read a whole list as one page. Parameters that are None are left out.

        Raises:
            CliError: Tenant-manager refuses, or does not answer.
        """
        asked: dict[str, str | int] = {"limit": _PAGE_ENTRIES}
        asked |= {name: value for name, value in (params or {}).items() if value is not None}
        page = whole = self.get(*path, params=asked)
        while page["next_cursor"] is not None:
            asked["cursor"] = page["next_cursor"]
            page = self.get(*path, params=asked)
            whole["data"] += page["data"]
        del whole["next_cursor"]
        return whole

    def post(self, *path: str, body: object = None) -> Document:
        """Send a POST. The answer to a 202 is the operation.

        Raises:
            CliError: Tenant-manager refuses, or does not answer.
        """
        return _document(ask(self._client, "POST", _path(path), body))

    def put(self, *path: str, body: object) -> Document:
        """Send a PUT.

        Raises:
            CliError: Tenant-manager refuses, or does not answer.
        """
        return _document(ask(self._client, "PUT", _path(path), body))

    def delete(self, *path: str, params: Mapping[str, str | int] | None = None) -> Document:
        """Send a DELETE. A 204 gives an empty document.

        Raises:
            CliError: Tenant-manager refuses, or does not answer.
        """
        answer = ask(self._client, "DELETE", _path(path), params=params)
        return _document(answer) if answer.content else {}


@contextmanager
def managing(*, as_json: bool) -> Iterator[Manager]:
    """Connect to tenant-manager as the operator. Errors are printed as JSON, too, with `as_json`.

    Raises:
        CliError: There is no token.
    """
    with json_errors(as_json), Connection.from_environment().tenant_manager() as client:
        yield Manager(client)


@contextmanager
def json_errors(as_json: bool) -> Iterator[None]:
    """With `as_json`, print an error that ends a command as a JSON result as well."""
    try:
        yield
    except CliError as error:
        if as_json:
            write_json({"error": str(error), "problem": error.problem})
        raise


def _path(parts: tuple[str, ...]) -> str:
    return "/".join(["/v1", *(quote(part, safe="") for part in parts)])


def _document(answer: httpx.Response) -> Document:
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise CliError(f"{answer.url} answered, and not as a Freehold does.")
    return document
