"""Tenant-manager as a command asks it: documents in, documents out, lists to their end."""

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

    def get(self, *place: str, params: Mapping[str, str | int] | None = None) -> Document:
        """Read what stands at a place under /v1.

        Raises:
            CliError: Tenant-manager refuses, or does not answer.
        """
        return _document(ask(self._client, "GET", _path(place), params=params))

    def whole(self, *place: str, params: Mapping[str, str | int | None] | None = None) -> Document:
        """Read a list to its end, as one page; parameters that are None are left out.

        Raises:
            CliError: Tenant-manager refuses, or does not answer.
        """
        asked: dict[str, str | int] = {"limit": _PAGE_ENTRIES}
        asked |= {name: value for name, value in (params or {}).items() if value is not None}
        page = whole = self.get(*place, params=asked)
        while page["next_cursor"] is not None:
            asked["cursor"] = page["next_cursor"]
            page = self.get(*place, params=asked)
            whole["data"] += page["data"]
        del whole["next_cursor"]
        return whole

    def post(self, *place: str, body: object = None) -> Document:
        """Have something made or done; 202 answers with the operation.

        Raises:
            CliError: Tenant-manager refuses, or does not answer.
        """
        return _document(ask(self._client, "POST", _path(place), body))

    def put(self, *place: str, body: object) -> Document:
        """Have something set.

        Raises:
            CliError: Tenant-manager refuses, or does not answer.
        """
        return _document(ask(self._client, "PUT", _path(place), body))

    def delete(self, *place: str, params: Mapping[str, str | int] | None = None) -> Document:
        """Have something removed; what is gone at once is answered with nothing.

        Raises:
            CliError: Tenant-manager refuses, or does not answer.
        """
        answer = ask(self._client, "DELETE", _path(place), params=params)
        return _document(answer) if answer.content else {}


@contextmanager
def managing(*, as_json: bool) -> Iterator[Manager]:
    """Have tenant-manager for a while; what goes wrong is told as JSON, too, where that is asked.

    Raises:
        CliError: There is no token.
    """
    with json_errors(as_json), Connection.from_environment().tenant_manager() as client:
        yield Manager(client)


@contextmanager
def json_errors(as_json: bool) -> Iterator[None]:
    """Write an error that ends a command as a result, too, where results are JSON."""
    try:
        yield
    except CliError as error:
        if as_json:
            write_json({"error": str(error), "problem": error.problem})
        raise


def _path(place: tuple[str, ...]) -> str:
    return "/".join(["/v1", *(quote(part, safe="") for part in place)])


def _document(answer: httpx.Response) -> Document:
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise CliError(f"{answer.url} answered, and not as a Freehold does.")
    return document
