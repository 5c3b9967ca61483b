"""What the audit log says of a request: members that its route knows, bounded, never a secret."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson
from pydantic import BaseModel

from freehold_tenant_manager.http.dependencies import TENANT_ID

_TEXT_MAX = 200
_ITEMS_MAX = 50
_INT_MAX = 2**63


class DetailNames:
    """The names that details may have: those of requests' fields and parameters."""

    def __init__(self, models: Iterable[type[BaseModel]]) -> None:
        self._names = frozenset(name for model in models for name in model.model_fields)

    def details(self, query: Mapping[str, str], document: Mapping[str, Any]) -> dict[str, Any]:
        """Give the details of a request, whatever else was sent with it."""
        stated = {**query, **document}
        return {name: bounded(value) for name, value in stated.items() if name in self._names}


def json_document(body: bytes) -> dict[str, Any]:
    """Read what a body says; nothing where it is no object."""
    try:
        document = orjson.loads(body or b"{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def form_document(body: bytes) -> dict[str, Any]:
    """Read what a form says."""
    return dict(parse_qsl(body.decode(errors="replace")))


def named_in(path: Mapping[str, str], details: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Give the tenant that a request is about, and what else its path names."""
    stated = path.get("tenant_id") or details.get("tenant_id")
    tenant_id = stated if isinstance(stated, str) and TENANT_ID.fullmatch(stated) else None
    others = [str(bounded(value)) for value in path.values() if value != tenant_id]
    return tenant_id, "/".join(others) or None


def bounded(value: Any) -> Any:
    """Give a value as the log keeps it: no long text, and numbers that everyone reads alike."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and -_INT_MAX <= value < _INT_MAX:
        return value
    if isinstance(value, list):
        return [bounded(item) for item in value[:_ITEMS_MAX] if not isinstance(item, list)]
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    # jsonb cannot have a zero character.
    return text.replace("\0", "\ufffd")[:_TEXT_MAX]
