"""A look at tenants' databases, as the superuser sees them."""

from freehold_tenant_manager.server.roles import SERVICES
from integration.tenant_manager.installation import Installation


async def exists(installation: Installation, home: str) -> bool:
    async with installation.superuser() as superuser:
        return bool(await superuser.fetch("SELECT FROM pg_database WHERE datname = $1", home))


async def is_complete(installation: Installation, home: str) -> bool:
    """Say whether a database has one owner throughout, is closed to PUBLIC, and we left it."""
    async with installation.superuser(home) as superuser:
        owners = await superuser.fetch(
            "SELECT DISTINCT o.relowner::regrole::text FROM pg_class AS o"
            " WHERE o.relnamespace = 'ledger'::regnamespace"
            " UNION SELECT DISTINCT p.proowner::regrole::text FROM pg_proc AS p"
            " WHERE p.pronamespace = 'ledger'::regnamespace"
            " UNION SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'ledger'"
            " UNION SELECT datdba::regrole::text FROM pg_database"
            " WHERE datname = current_database()"
        )
        is_open: bool = await superuser.fetchval(
            "SELECT has_database_privilege('pg_monitor', current_database(), 'CONNECT')"
        )
        roles: int = await superuser.fetchval(
            "SELECT count(*) FROM pg_roles WHERE starts_with(rolname, $1 || '_')", home
        )
        is_member: bool = await superuser.fetchval(
            "SELECT pg_has_role($1, $2 || '_owner', 'USAGE')", installation.role, home
        )
    return (
        [row[0] for row in owners] == [f"{home}_owner"]
        and not is_open
        and roles == 1 + len(SERVICES)
        and not is_member
    )
