"""Requests whose method and path say it all."""

from pydantic import ConfigDict

from freehold.contracts.events import Request


class Nothing(Request):
    """A body without a member, which may as well be left out."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}]})
