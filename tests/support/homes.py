"""Homes of tenants, as the catalog gives them to services."""

from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit

from freehold.ledger.schema import LEDGER_SCHEMA, LEDGER_VERSION
from freehold.tenants.homes import Home


def new_home(url: str = "postgresql://role:password@localhost:5432/db", **choices: Any) -> Home:
    """The home of a tenant in the database of a URL, which names its role too."""
    parts = urlsplit(url)
    home = Home(
        tenant_id="acme",
        epoch=1,
        host=parts.hostname or "localhost",
        port=parts.port or 5432,
        database=parts.path.removeprefix("/"),
        schema=LEDGER_SCHEMA,
        schema_version=LEDGER_VERSION,
        role=parts.username or "postgres",
        password=unquote(parts.password or ""),
    )
    return replace(home, **choices)
