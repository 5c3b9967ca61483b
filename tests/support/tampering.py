"""What only a superuser can do to a ledger, who first switches its triggers off."""

from freehold.ledger.client import Connection

_GUARDED = ("ledger_events", "external_ids", "reversals")


async def tamper(connection: Connection, statement: str) -> None:
    """Change what nobody may change."""
    for table in _GUARDED:
        await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER append_only")
    await connection.execute(statement)
    for table in _GUARDED:
        await connection.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER append_only")
