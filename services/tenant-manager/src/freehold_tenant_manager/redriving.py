"""Redriving on request: parked doorbells go back into the projector's queue.

The queue is projector's, but projector talks to nobody over HTTP and knows no operator. Here the
operator's token is known, and redriving needs no more than the broker.
"""

import time
from typing import Any

from freehold.contracts.problems import unavailable
from freehold.messaging.broker import LOST
from freehold.messaging.redriving import redrive
from freehold_tenant_manager.operations import Running
from freehold_tenant_manager.settings import Settings

_TIMEOUT_S = 10.0
_NOTE_EVERY_S = 1.0


def required_broker(settings: Settings) -> str:
    """Give the broker's URL.

    Raises:
        Problem: unavailable, where none was set.
    """
    if settings.amqp_url is None:
        raise unavailable("this tenant-manager knows no broker: set its FREEHOLD_AMQP_URL")
    return settings.amqp_url.get_secret_value()


class Redriver:
    """Puts parked doorbells back."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def redrive(self, running: Running) -> dict[str, Any]:
        """Put parked doorbells back, each once, and those left where it was broken off.

        Raises:
            Problem: unavailable, where the broker does not answer.
        """
        before: int = running.state.get("redriven", 0)
        limit: int | None = running.parameters.get("limit")
        total = before
        noted_at = time.monotonic()

        async def note() -> None:
            await running.note(0.0, f"{total:,} doorbells put back", redriven=total)

        async def on_moved(moved: int) -> None:
            nonlocal total, noted_at
            total = before + moved
            if time.monotonic() - noted_at >= _NOTE_EVERY_S:
                noted_at = time.monotonic()
                await note()

        try:
            await redrive(
                required_broker(self._settings),
                run=str(running.operation_id),
                limit=None if limit is None else max(limit - before, 0),
                timeout_s=_TIMEOUT_S,
                on_moved=on_moved,
            )
        except LOST as error:
            # For the next try, which goes on from here.
            await note()
            raise unavailable("the broker does not answer") from error
        return {"redriven": total}
