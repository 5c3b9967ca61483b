"""One OpenAPI document of all services, for those who generate clients.

`python -m freehold_local.openapi` writes it; with `--check` it only fails where the committed one
has drifted. It has every path under /v1. The other ones, such as /healthz, are the same in every
service, and stand in each service's own document.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI

from freehold.http.tags import TAGS
from freehold.settings import PREFIX
from freehold_ingest.application import make_application as make_ingest
from freehold_local.folders import CHECKOUT
from freehold_local.settings import SERVICE_SETTINGS, USUAL_PORTS
from freehold_query.application import make_application as make_query
from freehold_tenant_manager.application import build_application as make_tenant_manager

FILE = CHECKOUT / "services" / "clients" / "openapi.json"

_REFERENCE = re.compile(r'"#/components/(\w+)/([\w.-]+)"')
_MAKE: Mapping[str, Callable[[Any], FastAPI]] = {
    "ingest": make_ingest,
    "query": make_query,
    "tenant-manager": make_tenant_manager,
}
_DESCRIPTION = (
    "A ledger backend for many tenants. `ingest` appends events, `query` reads balances, and"
    " `tenant-manager` is the operator's. The server of each operation is the one that answers it."
)
# An application connects to nothing before it is started.
_SETTINGS: Mapping[str, str] = {
    "catalog_dsn": "postgresql://nobody@localhost/nothing",
    "amqp_url": "amqp://nobody@localhost",
    "credential_keys": "k1:" + "A" * 43 + "=",
    "operator_token": "of nobody",
    "ingest_password": "of nobody",
    "projector_password": "of nobody",
    "query_password": "of nobody",
}


def merged_document() -> dict[str, Any]:
    """Merge the services' documents.

    Raises:
        ValueError: Two services mean different things by the same name.
    """
    documents = {service: _document(service) for service in _MAKE}
    paths: dict[str, Any] = {}
    components: dict[str, Any] = {}
    used: set[str] = set()
    for service, document in documents.items():
        for path, item in document["paths"].items():
            if path.startswith("/v1/"):
                for operation in item.values():
                    operation["servers"] = [_server(service)]
                    used.update(operation["tags"])
                _merge(paths.setdefault(path, {}), item)
        for kind, named in document["components"].items():
            _merge(components.setdefault(kind, {}), named)
    first = documents["ingest"]
    return {
        "openapi": first["openapi"],
        "info": {**first["info"], "title": "Freehold", "description": _DESCRIPTION},
        "servers": [_server(service) for service in documents],
        "tags": [{"name": tag, "description": text} for tag, text in TAGS.items() if tag in used],
        "paths": paths,
        "components": _reached(paths, components),
    }


def _reached(paths: Mapping[str, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    """Give the components that paths lead to, and what credentials there are."""
    reached: set[tuple[str, str]] = set()
    rest: list[Any] = [paths]
    while rest:
        new = set(_REFERENCE.findall(json.dumps(rest.pop()))) - reached
        reached |= new
        rest += [components[kind][name] for kind, name in new]
    return {
        kind: {
            name: value
            for name, value in named.items()
            if kind == "securitySchemes" or (kind, name) in reached
        }
        for kind, named in components.items()
    }


def merged_text() -> str:
    """Write the merged document as it is committed."""
    return json.dumps(merged_document(), indent=2, ensure_ascii=False) + "\n"


def _document(service: str) -> dict[str, Any]:
    fields = SERVICE_SETTINGS[service].model_fields
    settings = {name: value for name, value in _SETTINGS.items() if name in fields}
    application = _MAKE[service](SERVICE_SETTINGS[service].model_validate(settings))
    document: dict[str, Any] = application.openapi()
    return document


def _server(service: str) -> dict[str, Any]:
    return {
        "url": "{scheme}://{host}:{port}",
        "description": service,
        "variables": {
            "scheme": {"enum": ["http", "https"], "default": "http"},
            "host": {"default": "127.0.0.1"},
            "port": {"default": str(USUAL_PORTS[service])},
        },
    }


def _merge(into: dict[str, Any], named: Mapping[str, Any]) -> None:
    for name, value in named.items():
        if into.setdefault(name, value) != value:
            raise ValueError(f"two services differ in what {name} is")


def main() -> None:
    """Write the document, or compare it."""
    # The document is of Freehold as it is delivered, and not of one that somebody has set up.
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    text = merged_text()
    if sys.argv[1:] != ["--check"]:
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(text, encoding="utf-8")
    elif not FILE.is_file() or FILE.read_text(encoding="utf-8") != text:
        sys.exit(f"{FILE.relative_to(CHECKOUT)} has drifted from the services: run `make format`")


if __name__ == "__main__":
    main()
