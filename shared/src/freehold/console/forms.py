"""Forms: read strictly, like JSON bodies."""

from collections import Counter
from typing import TypeVar
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError

from freehold.contracts.errors import ValidationFailed
from freehold.contracts.excerpts import excerpt
from freehold.contracts.faults import Document
from freehold.http.bodies import field_errors, pointer, read_content, refusal, schema_of
from freehold.http.media_types import FORM

_FIELDS_MAX = 100

AnyForm = TypeVar("AnyForm", bound="Form")


class Form(BaseModel):
    """The fields of a form. Those of each form are a subclass."""

    model_config = ConfigDict(extra="forbid", frozen=True)


async def read_form(request: Request, form: type[AnyForm]) -> AnyForm:
    """Read the fields that a page sent; an empty field counts as one that was left out.

    Raises:
        UnsupportedMediaType: The body is no form.
        ValidationFailed: A field is unknown, given twice, or breaks a rule.
        ClientDisconnect: The client went away before the body's end.
    """
    body = await read_content(request, FORM)
    try:
        given = parse_qsl(
            body.decode(), strict_parsing=bool(body), errors="strict", max_num_fields=_FIELDS_MAX
        )
    except ValueError:
        raise ValidationFailed("the body is no form in UTF-8, or has too many fields") from None
    counts = Counter(name for name, _ in given)
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise field_errors(
            (pointer([name]), f"{excerpt(name)} is given more than once") for name in repeated
        )
    values = dict(given)
    try:
        return form.model_validate(values)
    except ValidationError as error:
        document = Document(schema_of(form), values, "the form", "field")
        raise refusal(error, document) from None
