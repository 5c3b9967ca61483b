"""The messages' JSON Schemas, committed beside this file so that consumers need no Python.

Write them anew after a change with `python -m freehold.contracts.schemas`; a test notices drift.
"""

import json
from pathlib import Path

from freehold.contracts.messages import MESSAGES

FOLDER = Path(__file__).with_name("schemas")


def schemas() -> dict[str, str]:
    """Make every message's schema, by file name."""
    return {
        f"{message.model_fields['type'].default}.json": json.dumps(
            message.model_json_schema(), indent=2, sort_keys=True
        )
        + "\n"
        for message in MESSAGES
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in schemas().items():
        FOLDER.joinpath(name).write_text(text, encoding="utf-8")
