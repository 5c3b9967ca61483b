"""The ingest process."""

from freehold.http.server import serve
from freehold.observability.logs import configure_logs
from freehold.observability.traces import configure_traces
from freehold.release import this_release
from freehold_ingest.application import make_application
from freehold_ingest.settings import Settings


def main() -> None:
    """Serve until a signal ends the process."""
    settings = Settings.from_environment()
    configure_logs("ingest", settings.log_level, settings.log_format)
    configure_traces("ingest", this_release().version)
    serve(make_application(settings), settings)


if __name__ == "__main__":
    main()
