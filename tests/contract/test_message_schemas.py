"""The committed JSON Schemas are those of the message models."""

import jsonschema
import pytest
from pydantic import BaseModel

from freehold.contracts.messages import MESSAGES
from freehold.contracts.schemas import FOLDER, schemas


def test_committed_schemas_have_not_drifted() -> None:
    committed = {file.name: file.read_text(encoding="utf-8") for file in FOLDER.glob("*.json")}
    assert committed == schemas()


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.__name__)
def test_documented_example_fits_the_schema(message: type[BaseModel]) -> None:
    schema = message.model_json_schema()
    for example in schema["examples"]:
        jsonschema.validate(example, schema, jsonschema.Draft202012Validator)


def test_a_doorbell_never_carries_an_account_or_an_amount() -> None:
    text = "".join(schemas().values())
    for word in ("account", "amount", "currency", "balance"):
        assert word not in text
