"""The forms of names that the operator reads and writes."""

from typing import Annotated

from pydantic import StringConstraints

from freehold.contracts.fields import TENANT_ID_PATTERN

NAME_PATTERN = r"^[a-z][a-z0-9-]{0,62}$"
KEY_ID_PATTERN = r"^[0-9a-f]{16}$"

TenantId = Annotated[str, StringConstraints(pattern=TENANT_ID_PATTERN)]
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
"""Of a region or a Postgres server."""
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=63)]
"""Of something in Postgres, such as a database."""
KeyId = Annotated[str, StringConstraints(pattern=KEY_ID_PATTERN)]
ApiKeyText = Annotated[str, StringConstraints(pattern="^fh_[0-9a-f]{16}_[0-9a-f]{64}$")]
