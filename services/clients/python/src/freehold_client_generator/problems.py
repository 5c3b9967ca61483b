"""One class for each problem type."""

import builtins
import re
from collections.abc import Iterator
from typing import Any

from freehold_client_generator.document import HEADER, Document

# As the answers' descriptions tell it: "`not-found`: There is no such thing."
_TOLD = re.compile(r"`([a-z-]+)`: ([^`]+?\.)(?= `|\s*$)")


def problems_module(document: Document) -> str:
    """Write the classes of all problem types."""
    titles = dict(told for one in document.operations for told in _titles(one.schema["responses"]))
    classes = [f"{HEADER}\n\nfrom freehold_client.errors import Problem"]
    for uri in document.problem_types:
        slug = uri.removeprefix("/problems/")
        lines = [f"class {_class_name(slug)}(Problem):"]
        if slug in titles:
            lines += [f'    """{titles[slug]}"""', ""]
        classes.append("\n".join([*lines, f"    slug = {slug!r}"]))
    return "\n\n\n".join(classes) + "\n"


def _class_name(slug: str) -> str:
    name = "".join(part.capitalize() for part in slug.split("-"))
    return f"{name}Problem" if hasattr(builtins, name) else name


def _titles(responses: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for response in responses.values():
        yield from _TOLD.findall(response.get("description", ""))
