"""Which role an act takes, and which requests are acts: decided here for every route."""

from dataclasses import dataclass

from freehold.contracts.errors import RoleMissing
from freehold_tenant_manager.contracts.operators import Credential, Role
from freehold_tenant_manager.metrics import OPERATORS_REFUSED

_OWNERS = frozenset(
    {
        "delete_tenant",
        "drop_former_database",
        "create_operator",
        "rotate_operator_token",
        "revoke_operator",
    }
)
"""What destroys, or decides who may."""
_SECRETS = frozenset({"get_credentials", "export_ledger"})
"""What reads secrets, or all that a tenant has."""
_EXPORTS = frozenset({"export_operator_acts"})
_READING = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Operator:
    """Who makes a request, by what, and from where."""

    name: str
    role: Role
    credential: Credential
    address: str | None = None
    """The other end of the connection, which is a proxy's where there is one."""
    subject: str | None = None
    """What an identity provider knows them by for good: names may be changed (OpenID Connect Core
    1.0, section 5.7)."""

    def require(self, needed: Role) -> None:
        """Check that the operator's role suffices.

        Raises:
            RoleMissing: It does not.
        """
        if not self.role.covers(needed):
            OPERATORS_REFUSED.labels("role").inc()
            raise RoleMissing(f"this takes the role {needed}, and {self.name} is a {self.role}")


def needed_role(method: str, act: str) -> Role:
    """Say which role a request takes, by its method and the operation id of its route."""
    if act in _OWNERS:
        return Role.OWNER
    if act in _SECRETS or method not in _READING:
        return Role.OPERATOR
    return Role.VIEWER


def is_act(method: str, act: str) -> bool:
    """Say whether a request is recorded: what changes something, reads secrets, or exports."""
    return method not in _READING or act in _SECRETS or act in _EXPORTS
