"""A service, asked for JSON documents: one at a time, or a list page by page."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from freehold_cli.connection import Connection, ServiceClient, ask
from freehold_cli.errors import CliError
from freehold_cli.output import write_json

Document = dict[str, Any]
Parameters = Mapping[str, str | int | None]

PAGE_ENTRIES = 1000


class Service:
    """A service, asked with one credential."""

    def __init__(self, client: ServiceClient) -> None:
        self.client = client

    def get(self, *path: str, params: Parameters | None = None) -> Document:
        """Read the document at a path under /v1. Parameters that are None are left out.

        Raises:
            CliError: The service refuses, or does not answer.
        """
        given = {name: value for name, value in (params or {}).items() if value is not None}
        return _document(ask(self.client, "GET", path_of(*path), params=given))

    def pages(self, *path: str, params: Parameters | None = None) -> Iterator[Document]:
        """Read a list page by page, each when it is wanted. See `get` for the parameters.

        Raises:
            CliError: The service refuses, or does not answer.
        """
        asked = {"limit": PAGE_ENTRIES, **(params or {})}
        while True:
            page = self.get(*path, params=asked)
            yield page
            if page["next_cursor"] is None:
                return
            asked["cursor"] = page["next_cursor"]

    def whole(self, *path: str, params: Parameters | None = None) -> Document:
        """Read a whole list as one page.

        Raises:
            CliError: The service refuses, or does not answer.
        """
        pages = self.pages(*path, params=params)
        whole = next(pages)
        for page in pages:
            whole["data"] += page["data"]
        del whole["next_cursor"]
        return whole

    def post(self, *path: str, body: object = None) -> Document:
        """Send a POST. The answer to a 202 is the operation.

        Raises:
            CliError: The service refuses, or does not answer.
        """
        return _document(ask(self.client, "POST", path_of(*path), body))

    def put(self, *path: str, body: object) -> Document:
        """Send a PUT.

        Raises:
            CliError: The service refuses, or does not answer.
        """
        return _document(ask(self.client, "PUT", path_of(*path), body))

    def delete(self, *path: str, params: Mapping[str, str | int] | None = None) -> Document:
        """Send a DELETE. A 204 gives an empty document.

        Raises:
            CliError: The service refuses, or does not answer.
        """
        answer = ask(self.client, "DELETE", path_of(*path), params=params)
        return _document(answer) if answer.content else {}


@contextmanager
def managing(*, as_json: bool) -> Iterator[Service]:
    """Connect to tenant-manager as the operator. Errors are printed as JSON, too, with `as_json`.

    Raises:
        CliError: There is no token.
    """
    with json_errors(as_json), Connection.from_environment().tenant_manager() as client:
        yield Service(client)


@contextmanager
def reading(tenant_id: str | None, key_file: Path | None, *, as_json: bool) -> Iterator[Service]:
    """Connect to query: as the operator for a named tenant, else with the tenant's key.

    Raises:
        CliError: There is no credential.
    """
    connection = Connection.from_environment()
    with json_errors(as_json), connection.query(tenant_id, key_file) as client:
        yield Service(client)


@contextmanager
def json_errors(as_json: bool) -> Iterator[None]:
    """With `as_json`, print an error that ends a command as a JSON result as well."""
    try:
        yield
    except CliError as error:
        if as_json:
            write_json({"error": str(error), "problem": error.problem})
        raise


def path_of(*parts: str) -> str:
    """Give a path under /v1, with what stands between its slashes quoted."""
    return "/".join(["/v1", *(quote(part, safe="") for part in parts)])


def _document(answer: httpx.Response) -> Document:
    try:
        document = answer.json()
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise CliError(f"{answer.url} answered, and not as a Freehold does.")
    return document
