"""The projector process, and its one command: redrive."""

import argparse
import asyncio
import sys

from freehold.messaging.broker import LOST
from freehold.service.logs import configure_logs
from freehold.service.server import serve
from freehold_projector.application import make_application
from freehold_projector.parking import redrive
from freehold_projector.settings import Settings


def main() -> None:
    """Serve until told to stop; or put parked doorbells back."""
    arguments = _arguments()
    settings = Settings.from_environment()
    configure_logs("projector", settings.log_level, settings.log_format)
    if arguments.command == "redrive":
        sys.exit(_redrive(settings, arguments.limit))
    serve(make_application(settings), settings)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="freehold-projector", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("serve", help="serve until told to stop (the default)")
    redriving = commands.add_parser("redrive", help="put parked doorbells back into the queue")
    redriving.add_argument("--limit", type=int, help="how many at most (default: all)")
    return parser.parse_args()


def _redrive(settings: Settings, limit: int | None) -> int:
    url = settings.amqp_url.get_secret_value()
    try:
        moved = asyncio.run(redrive(url, limit=limit, timeout_s=10.0))
    except LOST as error:
        print(f"the broker does not answer: {error!r}; try again", file=sys.stderr)  # noqa: T201
        return 1
    print(f"{moved} doorbells put back")  # noqa: T201
    return 0


if __name__ == "__main__":
    main()
