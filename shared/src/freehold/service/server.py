"""Running a service: uvicorn on uvloop, and an end that finishes what was accepted."""

import gc

import uvicorn
from fastapi import FastAPI

from freehold.service.protocol import BoundedHttpProtocol
from freehold.service.settings import ServiceSettings

_ALLOCATIONS_UNTIL_COLLECTED = 20_000


def serve(app: FastAPI, settings: ServiceSettings) -> None:
    """Serve until SIGTERM or SIGINT; then take no more, finish what was taken, and return."""
    # A request leaves hardly a cycle behind: to look for some after every few, among all that was
    # loaded at the start, would take a tenth of the time.
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS_UNTIL_COLLECTED, 50, 50)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=BoundedHttpProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_timeout_s)),
    )
