"""``python -m freehold_observe`` writes what is made of code; with ``--check`` it compares."""

import sys

from freehold_observe.dashboards import dashboards
from freehold_observe.guides import guides
from freehold_observe.sources import CHECKOUT


def main() -> None:
    """Write the files, or compare them with those that are there."""
    made = {CHECKOUT / path: text for path, text in {**guides(), **dashboards()}.items()}
    if sys.argv[1:] != ["--check"]:
        for file, text in made.items():
            file.write_text(text, encoding="utf-8")
        return
    for file, text in made.items():
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            sys.exit(f"{file.relative_to(CHECKOUT)} has drifted from the code: run `make format`")


if __name__ == "__main__":
    main()
