"""``python -m freehold_client_generator`` writes the modules; with ``--check`` it compares them."""

import json
import subprocess
import sys
from pathlib import Path

from freehold_client_generator.document import HEADER, Document
from freehold_client_generator.models import answer_models, nested_models
from freehold_client_generator.operations import calls_module, methods_module, routes_module
from freehold_client_generator.problems import problems_module

_DOCUMENT = Path(__file__).parents[3] / "openapi.json"
_FOLDER = Path(__file__).parents[1] / "freehold_client" / "generated"

# A problem's class is known as soon as it is made, and so before any call.
_PACKAGE = f"{HEADER}\n\nfrom freehold_client.generated import problems"


def modules() -> dict[str, str]:
    """Generate the modules, by the names of their files."""
    document = Document(json.loads(_DOCUMENT.read_text(encoding="utf-8")))
    made = {
        "__init__.py": _PACKAGE,
        "calls.py": calls_module(document),
        "models.py": answer_models(document),
        "nested.py": nested_models(document),
        "operations.py": methods_module(document),
        "problems.py": problems_module(document),
        "routes.py": routes_module(document),
    }
    return {name: _formatted(text) for name, text in made.items()}


def _formatted(text: str) -> str:
    """Format a module as all code here is."""
    ruff = Path(sys.executable).with_name("ruff")
    return subprocess.run(  # noqa: S603 (our own program)
        [ruff, "format", "-"], input=text, capture_output=True, check=True, text=True
    ).stdout


def main() -> None:
    """Write the modules, or compare them with those that are there."""
    made = modules()
    if sys.argv[1:] != ["--check"]:
        _FOLDER.mkdir(exist_ok=True)
        for name, text in made.items():
            (_FOLDER / name).write_text(text, encoding="utf-8")
        return
    there = {file.name: file.read_text(encoding="utf-8") for file in _FOLDER.glob("*.py")}
    if there != made:
        sys.exit("the generated client has drifted from openapi.json: run `make format`")


if __name__ == "__main__":
    main()
