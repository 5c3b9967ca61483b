"""Runs query: `freehold-query`, or `python -m freehold_query`."""

from freehold.http.server import serve
from freehold.observability.logs import configure_logs
from freehold.observability.traces import configure_traces
from freehold.release import this_release
from freehold_query.application import make_application
from freehold_query.settings import Settings


def main() -> None:
    """Read the settings and serve until a signal."""
    settings = Settings.from_environment()
    configure_logs("query", settings.log_level, settings.log_format)
    configure_traces("query", this_release().version)
    serve(make_application(settings), settings)


if __name__ == "__main__":
    main()
