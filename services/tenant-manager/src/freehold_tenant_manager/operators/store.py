"""Operators in the catalog, which has hashes of secrets only. Revoked ones stay listed."""

from dataclasses import dataclass
from datetime import datetime

from freehold.contracts.errors import DomainError, NotFound, OperatorExists, OperatorRevoked
from freehold.database.queries import load_queries
from freehold.ledger.client import Connection
from freehold.security.api_keys import ApiKey, same_secret
from freehold_tenant_manager.contracts.operators import CreatedOperator, OperatorEntry, Role
from freehold_tenant_manager.operators.tokens import new_operator_token, operator_token_text

_QUERIES = load_queries("freehold_tenant_manager.operators", "queries.sql")

ROOT = "root"
"""The name of who has the settings' token. No other operator can have it."""


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who a token stands for."""

    name: str
    role: Role


async def add_operator(
    connection: Connection, name: str, role: Role, expires_at: datetime | None
) -> CreatedOperator:
    """Make an operator. Only the returned value contains the token's secret.

    Raises:
        OperatorExists: The name is taken, if only by one who is revoked.
    """
    token = new_operator_token()
    row = None
    if name != ROOT:
        row = await connection.fetchrow(
            _QUERIES["add"], name, role.value, token.key_id, token.secret_hash(), expires_at
        )
    if row is None:
        raise OperatorExists(f"there is, or was, an operator {name}; the audit log names each once")
    return CreatedOperator(token=operator_token_text(token), **row)


async def list_operators(
    connection: Connection, *, after: str | None, rows_max: int
) -> list[OperatorEntry]:
    """List operators in order of their names, after one of a given name."""
    rows = await connection.fetch(_QUERIES["list"], after, rows_max)
    return [OperatorEntry(**row) for row in rows]


async def find_bearer(connection: Connection, token: ApiKey) -> Bearer | None:
    """Give the operator with a token that works now; note its use, at most once an hour."""
    row = await connection.fetchrow(_QUERIES["find_token"], token.key_id)
    if row is None or not same_secret(token, row["token_hash"]):
        return None
    if row["is_use_due"]:
        await connection.execute(_QUERIES["save_use"], token.key_id)
    return Bearer(row["name"], Role(row["role"]))


async def find_session_bearer(connection: Connection, token_id: str) -> Bearer | None:
    """Give the operator of a session that the token of this id began, while it works."""
    row = await connection.fetchrow(_QUERIES["find_session"], token_id)
    return None if row is None else Bearer(row["name"], Role(row["role"]))


async def rotate_operator_token(
    connection: Connection, name: str, expires_at: datetime | None
) -> CreatedOperator:
    """Make a token in place of an operator's, which ends at once.

    Raises:
        NotFound: There is no such operator.
        OperatorRevoked: The operator is revoked.
    """
    token = new_operator_token()
    row = await connection.fetchrow(
        _QUERIES["rotate"], name, token.key_id, token.secret_hash(), expires_at
    )
    if row is None:
        if await connection.fetchrow(_QUERIES["find"], name) is None:
            raise no_operator()
        raise OperatorRevoked(f"{name} is revoked for good; make an operator of another name")
    return CreatedOperator(token=operator_token_text(token), **row)


async def revoke_operator(connection: Connection, name: str) -> None:
    """Revoke an operator for good; doing so again changes nothing.

    Raises:
        NotFound: There is no such operator.
    """
    if not await connection.fetchval(_QUERIES["revoke"], name):
        raise no_operator()


def no_operator() -> DomainError:
    """Make the error for a name that no operator has."""
    return NotFound("there is no such operator")
