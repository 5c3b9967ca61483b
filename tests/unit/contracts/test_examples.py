"""What the documentation shows has to be true: every model's examples are valid."""

import importlib
import json
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest
from pydantic import BaseModel
from pydantic_settings import BaseSettings

import freehold.contracts

SERVICES = ["freehold_ingest", "freehold_projector", "freehold_query", "freehold_tenant_manager"]


def modules_of(package: ModuleType) -> Iterator[ModuleType]:
    yield package
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def models_of(package: ModuleType) -> list[type[BaseModel]]:
    """The models that a package defines and shows to others."""
    return [
        value
        for module in modules_of(package)
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, BaseModel)
        and not issubclass(value, BaseSettings)
        and value.__module__ == module.__name__
        and value.model_fields
        and not value.__name__.startswith("_")
    ]


def examples_of(model: type[BaseModel]) -> list[object]:
    # Asked of the model itself: what it inherits are examples of another.
    extra = model.model_config.get("json_schema_extra")
    examples = extra.get("examples", []) if isinstance(extra, dict) else []
    assert isinstance(examples, list)
    return list(examples)


CONTRACTS = models_of(freehold.contracts)
MODELS = CONTRACTS + [
    model for name in SERVICES for model in models_of(importlib.import_module(name))
]
EXAMPLES = [
    pytest.param(model, example, id=f"{model.__name__}-{number}")
    for model in MODELS
    for number, example in enumerate(examples_of(model))
]


@pytest.mark.parametrize("model", CONTRACTS, ids=lambda model: model.__name__)
def test_every_model_of_the_contract_shows_an_example(model: type[BaseModel]) -> None:
    assert examples_of(model)


@pytest.mark.parametrize(("model", "example"), EXAMPLES)
def test_every_example_is_valid(model: type[BaseModel], example: object) -> None:
    """As JSON, which is what a reader would send, and with nothing in it that is not a field."""
    model.model_validate_json(json.dumps(example))
    assert isinstance(example, dict)
    names = {field.alias or name for name, field in model.model_fields.items()}
    assert set(example) <= names


@pytest.mark.parametrize(("model", "example"), EXAMPLES)
def test_every_example_is_written_as_it_would_be_answered(
    model: type[BaseModel], example: object
) -> None:
    """A second reading of what was written gives the same: nothing is lost on the way."""
    valid = model.model_validate_json(json.dumps(example))
    assert model.model_validate_json(valid.model_dump_json(by_alias=True)) == valid
