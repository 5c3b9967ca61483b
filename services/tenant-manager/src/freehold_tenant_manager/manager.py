"""The service from the first start to the last request.

Until the catalog is set up, which is tried for as long as it takes, nothing else is done: every
route answers 503.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import structlog

from freehold.contracts.problems import unavailable
from freehold.security.sealing import KeyRing
from freehold_tenant_manager.catalog.setup import set_up
from freehold_tenant_manager.parts import Parts
from freehold_tenant_manager.settings import Settings

_log = structlog.get_logger(__name__)

_RETRY_FIRST_S = 0.5
_RETRY_MAX_S = 5.0


class Manager:
    """Sets the catalog up, and gives the routes the parts that they work with."""

    def __init__(self, settings: Settings, key_ring: KeyRing) -> None:
        self.settings = settings
        self._parts = Parts(settings, key_ring)
        self._is_set_up = False
        self._work: asyncio.Task[None] | None = None

    @property
    def parts(self) -> Parts:
        """What routes work with.

        Raises:
            Problem: unavailable, before the catalog is set up.
        """
        if not self._is_set_up:
            raise unavailable("the catalog is not set up yet")
        return self._parts

    async def open(self) -> None:
        """Begin; setting up goes on in the background."""
        self._work = asyncio.create_task(self._run())

    async def close(self) -> None:
        """End what goes on in the background, and every connection."""
        if self._work is not None:
            self._work.cancel()
            with suppress(asyncio.CancelledError):
                await self._work
        await self._parts.close()

    def readiness(self) -> Mapping[str, bool]:
        """Say what /readyz says."""
        return {"catalog": self._parts.catalog.reachable, "set_up": self._is_set_up}

    async def _run(self) -> None:
        pause_s = _RETRY_FIRST_S
        while not self._is_set_up:
            try:
                await set_up(self._parts.server, self.settings)
                await self._parts.catalog.open()
                self._is_set_up = True
            except Exception as error:  # noqa: BLE001 (whatever it is may pass, and is told)
                _log.warning("catalog not set up yet", fault=repr(error), retry_in_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _RETRY_MAX_S)
        _log.info("catalog set up", region=self.settings.region, cluster=self.settings.cluster)
        await self._parts.open()
