"""The service, put together from top to bottom."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI

from freehold.security.sealing import KeyRing
from freehold.service.application import new_application
from freehold_tenant_manager.manager import Manager
from freehold_tenant_manager.routes import REQUEST_MODELS, own_router, router
from freehold_tenant_manager.routes.exports import EXPORT_PATHS
from freehold_tenant_manager.settings import Settings


def build_application(settings: Settings) -> FastAPI:
    """Make the application.

    Raises:
        ValueError: The settings' credential_keys cannot be read.
    """
    key_ring = KeyRing(settings.credential_keys.get_secret_value())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        manager = app.state.manager = Manager(settings, key_ring)
        await manager.open()
        try:
            yield
        finally:
            await manager.close()

    async def readiness() -> Mapping[str, bool]:
        manager: Manager = app.state.manager
        return manager.readiness()

    app = new_application(
        title="Freehold tenant-manager",
        description="Provisions tenants, their databases and their API keys.",
        lifespan=lifespan,
        readiness=readiness,
        request_models=REQUEST_MODELS,
        timeout_s=settings.request_timeout_s,
        requests_in_flight_max=settings.requests_in_flight_max,
        all_bodies_bytes_max=settings.all_bodies_bytes_max,
        streaming_paths=EXPORT_PATHS,
    )
    app.include_router(router)
    app.include_router(own_router)
    return app
