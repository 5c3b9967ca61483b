"""Running a service: uvicorn on uvloop, and a shutdown that finishes accepted requests."""

import gc
from collections.abc import Mapping
from typing import Any

import uvicorn
from fastapi import FastAPI

from freehold.http.connections import BoundedHttpProtocol
from freehold.settings import ServiceSettings

_ALLOCATIONS_UNTIL_COLLECTED = 20_000

DECISIONS: Mapping[str, Any] = {
    "http": BoundedHttpProtocol,
    "ws": "none",
    "lifespan": "on",
    "log_config": None,
    "access_log": False,
    # X-Forwarded-* fields are not trusted.
    "proxy_headers": False,
    "server_header": False,
    "date_header": True,
    "timeout_keep_alive": 5,
}
"""Settings of uvicorn that every service has."""


def serve(app: FastAPI, settings: ServiceSettings) -> None:
    """Serve until SIGTERM or SIGINT, then finish the accepted requests and return."""
    # Requests leave hardly any reference cycles. With the default thresholds, a tenth of the CPU
    # time goes into looking for them among the objects loaded at the start.
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS_UNTIL_COLLECTED, 50, 50)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        timeout_graceful_shutdown=max(1, round(settings.shutdown_timeout_s)),
        **DECISIONS,
    )
