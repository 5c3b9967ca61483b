"""The process: settings, logs, application, and serving until told to stop."""

from freehold.service.logs import configure_logs
from freehold.service.server import serve
from freehold_tenant_manager.application import build_application
from freehold_tenant_manager.settings import Settings


def main() -> None:
    """Run tenant-manager."""
    settings = Settings.from_environment()
    configure_logs("tenant-manager", settings.log_level, settings.log_format)
    serve(build_application(settings), settings)


if __name__ == "__main__":
    main()
