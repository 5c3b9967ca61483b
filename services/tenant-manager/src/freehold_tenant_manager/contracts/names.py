"""The forms of names that the operator reads and writes."""

from typing import Annotated

from pydantic import StringConstraints

from freehold.contracts.fields import TENANT_ID_PATTERN

NAME_PATTERN = r"^[a-z][a-z0-9-]{0,62}$"
KEY_ID_PATTERN = r"^[0-9a-f]{16}$"
OPERATOR_NAME_PATTERN = r"^[a-z][a-z0-9._-]{1,62}$"

TenantId = Annotated[str, StringConstraints(pattern=TENANT_ID_PATTERN)]
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
"""Of a region or a Postgres server."""
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=63)]
"""Of something in Postgres, such as a database."""
KeyId = Annotated[str, StringConstraints(pattern=KEY_ID_PATTERN)]
ApiKeyText = Annotated[str, StringConstraints(pattern="^fh_[0-9a-f]{16}_[0-9a-f]{64}$")]
OperatorName = Annotated[str, StringConstraints(pattern=OPERATOR_NAME_PATTERN)]
OperatorTokenText = Annotated[str, StringConstraints(pattern="^fo_[0-9a-f]{16}_[0-9a-f]{64}$")]
ShownOperatorName = Annotated[str, StringConstraints(max_length=255)]
"""Of an operator; `oidc:` and a name where the identity provider knows them."""
ActName = Annotated[str, StringConstraints(pattern="^[a-z]+(_[a-z]+)*$", max_length=64)]
