"""The projector process, and its commands: redrive and rebuild."""

import argparse
import asyncio
import sys
from uuid import uuid4

from freehold.contracts.errors import DomainError
from freehold.http.server import serve
from freehold.messaging.broker import LOST
from freehold.messaging.redrive import redrive
from freehold.observability.logs import configure_logs
from freehold.observability.traces import configure_traces
from freehold.release import this_release
from freehold_projector.application import make_application
from freehold_projector.catch_up import UnknownTenantError
from freehold_projector.rebuild import rebuild
from freehold_projector.settings import Settings


def main() -> None:
    """Serve until stopped, or run the command."""
    arguments = _arguments()
    settings = Settings.from_environment()
    configure_logs("projector", settings.log_level, settings.log_format)
    match arguments.command:
        case "redrive":
            sys.exit(_redrive(settings, arguments.limit))
        case "rebuild":
            sys.exit(_rebuild(settings, arguments.tenant))
        case _:
            configure_traces("projector", this_release().version)
            serve(make_application(settings), settings)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="freehold-projector", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("serve", help="serve until stopped (the default)")
    redriving = commands.add_parser("redrive", help="put parked doorbells back into the queue")
    redriving.add_argument("--limit", type=int, help="how many at most (default: all)")
    rebuilding = commands.add_parser("rebuild", help="rebuild a tenant's balances")
    rebuilding.add_argument("tenant", help="the tenant's id")
    return parser.parse_args()


def _redrive(settings: Settings, limit: int | None) -> int:
    url = settings.amqp_url.get_secret_value()
    try:
        moved = asyncio.run(redrive(url, run=uuid4().hex, limit=limit, timeout_s=10.0))
    except LOST as error:
        return _fail(f"the broker does not answer: {error!r}; try again")
    print(f"{moved} doorbells put back")  # noqa: T201
    return 0


def _rebuild(settings: Settings, tenant_id: str) -> int:
    try:
        seq = asyncio.run(rebuild(settings, tenant_id))
    except UnknownTenantError:
        return _fail(f"there is no tenant {tenant_id!r}")
    except DomainError as error:
        return _fail(f"{error.detail}; nothing was changed, try again")
    print(f"balances of {tenant_id} rebuilt, up to seq {seq}")  # noqa: T201
    return 0


def _fail(fault: str) -> int:
    print(fault, file=sys.stderr)  # noqa: T201
    return 1


if __name__ == "__main__":
    main()
