"""The body of an error answer (RFC 9457), as clients read it."""

from pydantic import BaseModel, ConfigDict, Field

PROBLEM_MEDIA_TYPE = "application/problem+json"


class FieldError(BaseModel):
    """One broken rule: where in the body (RFC 6901 pointer) or query, and what is wrong.

    An empty pointer is the whole request, where no single member of it is at fault.
    """

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [{"pointer": "/amount_minor", "detail": "an amount must not be zero"}]
        },
    )

    pointer: str
    detail: str


class ProblemDocument(BaseModel):
    """The body of an error answer. Some types add members of their own."""

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "/problems/validation-failed",
                    "title": "The request breaks a rule",
                    "status": 422,
                    "detail": "amount_minor: an amount must not be zero",
                    "errors": [
                        {"pointer": "/amount_minor", "detail": "an amount must not be zero"}
                    ],
                }
            ]
        },
    )

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = Field(
        default=None, description="What is wrong where: of every 422, and at least one."
    )
