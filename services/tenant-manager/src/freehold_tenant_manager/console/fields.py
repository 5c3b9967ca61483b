"""Fields of the console's forms."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from freehold.console.forms import Form
from freehold.http.bodies import field_errors
from freehold.http.parameters import NoQuery
from freehold_tenant_manager.contracts.tenants import to_come


def _in_utc(given: Any) -> Any:
    # A browser's datetime-local field has no zone; the page says that it is UTC.
    try:
        instant = datetime.fromisoformat(given)
    except (TypeError, ValueError):
        raise ValueError("must be a time such as 2026-03-01T12:00:00, in UTC") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def unless_any(text: str) -> str | None:
    """Read a choice; None for the one that filters nothing."""
    return None if text == "any" else text


class SearchQuery(NoQuery):
    """A query that a form sends: an empty field counts as left out."""

    @model_validator(mode="before")
    @classmethod
    def _without_blanks(cls, given: dict[str, str]) -> dict[str, str]:
        return {name: value for name, value in given.items() if value != ""}


UtcField = Annotated[datetime, BeforeValidator(_in_utc)]
AheadField = Annotated[datetime, BeforeValidator(_in_utc), AfterValidator(to_come)]


class NoFields(Form):
    """A form that is a button alone."""


class Confirmed(Form):
    """A form of what cannot be taken back: it repeats a name."""

    confirm: str = Field(default="", description="The name of what is to be destroyed.")

    def require(self, name: str) -> None:
        """Refuse it unless it repeats this name.

        Raises:
            ValidationFailed: It does not.
        """
        if self.confirm != name:
            raise field_errors([("/confirm", f"type {name} to confirm: nothing was done")])
