"""Where a request goes: the service, the path, and what may be done with it."""

import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

_PARAMETER = re.compile(r"\{\w+\}")


class Service(StrEnum):
    """A service with an address of its own."""

    INGEST = "ingest"
    QUERY = "query"
    TENANT_MANAGER = "tenant_manager"


@dataclass(frozen=True, slots=True)
class Route:
    """An operation of Freehold's API."""

    service: Service
    method: str
    template: str
    """The path, with the names of its parameters in braces."""
    has_key: bool = False
    """Whether it takes an Idempotency-Key."""
    is_operators: bool = False
    """Whether the operator asks for it, not a tenant."""

    def matches(self, method: str, path: str) -> bool:
        """Whether a request goes here."""
        pattern = "[^/]+".join(map(re.escape, _PARAMETER.split(self.template)))
        return method == self.method and re.fullmatch(pattern, path) is not None

    def path(self, *ids: object) -> str:
        """Fill in the path's parameters.

        Raises:
            ValueError: One is empty, or a dot or two: that would be another path.
        """
        texts = iter([str(each) for each in ids])

        def fill(_: re.Match[str]) -> str:
            text = next(texts)
            if text in {"", ".", ".."}:
                raise ValueError(f"{text!r} cannot stand in {self.template}")
            return quote(text, safe="")

        return _PARAMETER.sub(fill, self.template)
