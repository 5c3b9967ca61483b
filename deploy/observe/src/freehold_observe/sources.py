"""The sources of the services, as Python's own parser reads them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[4]

# Where each service's code is. What is shared may run in any of them.
SHARED = "shared"
_FOLDERS = {
    SHARED: "shared/src/freehold",
    "ingest": "services/ingest/src/freehold_ingest",
    "projector": "services/projector/src/freehold_projector",
    "query": "services/query/src/freehold_query",
    "tenant-manager": "services/tenant-manager/src/freehold_tenant_manager",
}
SERVICES = tuple(_FOLDERS)


@dataclass(frozen=True, slots=True)
class Module:
    """A module of a service.

    Attributes:
        service: Whose it is.
        path: Its file, from the top of the checkout.
        tree: Its syntax.
    """

    service: str
    path: Path
    tree: ast.Module

    def calls(self) -> Iterator[ast.Call]:
        """Give every call in it, from top to bottom."""
        found = [node for node in ast.walk(self.tree) if isinstance(node, ast.Call)]
        return iter(sorted(found, key=lambda call: (call.lineno, call.col_offset)))


def modules() -> Iterator[Module]:
    """Read every module of every service."""
    for service, folder in _FOLDERS.items():
        for file in sorted((CHECKOUT / folder).rglob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
            yield Module(service, file.relative_to(CHECKOUT), tree)
