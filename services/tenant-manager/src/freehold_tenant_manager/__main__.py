"""The process: serves the application, or runs a command."""

import argparse
import sys

from freehold.http.server import serve
from freehold.observability.logs import configure_logs
from freehold.observability.traces import configure_traces
from freehold.release import this_release
from freehold_tenant_manager.application import build_application
from freehold_tenant_manager.recover_command import add_arguments, recover
from freehold_tenant_manager.settings import Settings


def main() -> None:
    """Run tenant-manager, or do what a command says."""
    parser = argparse.ArgumentParser(
        prog="freehold-tenant-manager",
        description="Serves, or does what a command says. Its settings are FREEHOLD_ variables.",
    )
    commands = parser.add_subparsers(dest="command", metavar="command")
    add_arguments(
        commands.add_parser(
            "recover",
            help="bring everything back on an empty server, from the storage",
            description="Brings the catalog and every tenant's ledger back on an empty Postgres"
            " server. A second run continues.",
        )
    )
    arguments = parser.parse_args()
    settings = Settings.from_environment()
    if arguments.command == "recover":
        configure_logs("tenant-manager", "error", settings.log_format)
        sys.exit(recover(settings, arguments))
    configure_logs("tenant-manager", settings.log_level, settings.log_format)
    configure_traces("tenant-manager", this_release().version)
    serve(build_application(settings), settings)


if __name__ == "__main__":
    main()
