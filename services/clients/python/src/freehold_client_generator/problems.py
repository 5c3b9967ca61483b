"""One class for each problem type."""

import builtins

from freehold_client_generator.document import HEADER, Document


def problems_module(document: Document) -> str:
    """Write the classes of all problem types."""
    classes = [f"{HEADER}\n\nfrom freehold_client.errors import Problem"]
    for uri in document.problem_types:
        slug = uri.removeprefix("/problems/")
        lines = [f"class {_class_name(slug)}(Problem):"]
        if title := document.problem_titles.get(slug):
            lines += [f'    """{title}."""', ""]
        classes.append("\n".join([*lines, f"    slug = {slug!r}"]))
    return "\n\n\n".join(classes) + "\n"


def _class_name(slug: str) -> str:
    name = "".join(part.capitalize() for part in slug.split("-"))
    return f"{name}Problem" if hasattr(builtins, name) else name
