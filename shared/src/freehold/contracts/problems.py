"""The body of an error answer (RFC 9457), as clients read it, and the types of problems."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

PROBLEM_MEDIA_TYPE = "application/problem+json"


_DOCUMENT_EXAMPLE: dict[str, Any] = {
    "type": "/problems/validation-failed",
    "title": "The request breaks a rule",
    "status": 422,
    "detail": "amount_minor must not be zero",
    "errors": [{"pointer": "/amount_minor", "detail": "amount_minor must not be zero"}],
}
_TYPE_EXAMPLE: dict[str, Any] = {
    "type": "/problems/validation-failed",
    "title": "The request breaks a rule",
    "status": 422,
    "cause": "A member of the body is missing, unknown, or outside its limits.",
    "remedy": "Correct what `errors` names.",
    "retry": "no",
    "again": "No. The same request is refused again.",
    "example": _DOCUMENT_EXAMPLE,
}


class FieldError(BaseModel):
    """One broken rule: where in the body (RFC 6901 pointer) or query, and what is wrong.

    An empty pointer is the whole request, where no single member of it is at fault.
    """

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [{"pointer": "/amount_minor", "detail": "amount_minor must not be zero"}]
        },
    )

    pointer: str
    detail: str


class ProblemDocument(BaseModel):
    """The body of an error answer. Some types add members of their own."""

    model_config = ConfigDict(
        frozen=True, extra="allow", json_schema_extra={"examples": [_DOCUMENT_EXAMPLE]}
    )

    type: str
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    errors: (
        Annotated[list[FieldError], Field(min_length=1, max_length=100)] | SkipJsonSchema[None]
    ) = Field(default=None, description="What is wrong where: of every 422, and at least one.")


class DescribedProblem(BaseModel):
    """A type of problem: why it is answered, and what to do. Texts have code between backticks."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_TYPE_EXAMPLE]})

    type: str = Field(description="The address of this description, and the problem's `type`.")
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    cause: str
    remedy: str = Field(description="What the caller can do.")
    retry: Literal["no", "now", "later"] = Field(
        description="Whether the same request may succeed when it is sent again: `no` while nothing"
        " else has changed, `now` at once, `later` after the seconds in `Retry-After`."
    )
    again: str = Field(description="The same as a sentence.")
    example: ProblemDocument


class ProblemTypeList(BaseModel):
    """All types of problems, in order of status and name."""

    model_config = ConfigDict(
        frozen=True, json_schema_extra={"examples": [{"data": [_TYPE_EXAMPLE]}]}
    )

    data: list[DescribedProblem]
