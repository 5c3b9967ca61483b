"""The parameters in paths: what each looks like, and what is answered where there is no such thing.

A name means the same in every service's paths.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from freehold.contracts.errors import DomainError, NotFound, TenantDeleted
from freehold.contracts.fields import (
    ACCOUNT_ID_PATTERN,
    CURRENCY_PATTERN,
    EVENT_TYPE_PATTERN,
    TENANT_ID_PATTERN,
)

_NAME = re.compile(r"\{(\w+)\}")


class PathParameter(NamedTuple):
    """A parameter in a path."""

    description: str
    schema: Mapping[str, Any]
    errors: Sequence[type[DomainError]] = (NotFound,)
    """What a route with it may answer. An unknown account, currency or event type is a new one."""


def _like(pattern: str) -> Mapping[str, Any]:
    return {"type": "string", "pattern": pattern}


_UUID: Mapping[str, Any] = {"type": "string", "format": "uuid"}
_PARAMETERS: Mapping[str, PathParameter] = {
    "account_id": PathParameter("The account.", _like(ACCOUNT_ID_PATTERN), ()),
    "currency": PathParameter("An ISO 4217 code, in capitals.", _like(CURRENCY_PATTERN), ()),
    "event_type": PathParameter("The event type.", _like(EVENT_TYPE_PATTERN), ()),
    "event_id": PathParameter("The event's id.", _UUID),
    "transaction_id": PathParameter("The transaction's id.", _UUID),
    "hold_id": PathParameter("The hold's id.", _UUID),
    "tenant_id": PathParameter(
        "The tenant's id.", _like(TENANT_ID_PATTERN), (NotFound, TenantDeleted)
    ),
    "key_id": PathParameter("The public part of the API key.", _like("^[0-9a-f]{16}$")),
    "backup_id": PathParameter("The backup's id.", _UUID),
    "operation_id": PathParameter("The operation's id.", _UUID),
    "name": PathParameter("The database's name.", _like("^fh_[0-9a-f]{16}$")),
    "operator_name": PathParameter("The operator's name.", _like("^[a-z][a-z0-9._-]{1,62}$")),
    "slug": PathParameter("The last part of the problem's `type`.", _like("^[a-z]+(-[a-z]+)*$")),
}


def path_parameters(path: str) -> dict[str, PathParameter]:
    """Give the parameters in a path, by name."""
    return {name: _PARAMETERS[name] for name in _NAME.findall(path)}


def documented_path(path: str) -> list[dict[str, Any]]:
    """Describe, for OpenAPI, the parameters in a path."""
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": parameter.description,
            "schema": dict(parameter.schema),
        }
        for name, parameter in path_parameters(path).items()
    ]
