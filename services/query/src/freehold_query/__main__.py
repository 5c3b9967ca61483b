"""Runs query: `freehold-query`, or `python -m freehold_query`."""

from freehold.service.logs import configure_logs
from freehold.service.server import serve
from freehold_query.application import make_application
from freehold_query.settings import Settings


def main() -> None:
    """Read the settings and serve until told to stop."""
    settings = Settings.from_environment()
    configure_logs("query", settings.log_level, settings.log_format)
    serve(make_application(settings), settings)


if __name__ == "__main__":
    main()
