"""Puts parked doorbells back into projector's queue, on an operator's request.

Projector has no HTTP routes for operators, and redriving needs nothing but the broker.
"""

import time
from typing import Any

from pydantic import SecretStr

from freehold.contracts.errors import Unavailable
from freehold.messaging.broker import LOST
from freehold.messaging.redrive import redrive
from freehold_tenant_manager.operations.operations import Running

_TIMEOUT_S = 10.0
_SAVE_EVERY_S = 1.0


class Redriver:
    """The handler of operations of the kind `redrive`."""

    def __init__(self, amqp_url: SecretStr | None) -> None:
        self._amqp_url = amqp_url

    def require_broker(self) -> str:
        """Give the broker's URL.

        Raises:
            Unavailable: None is set.
        """
        if self._amqp_url is None:
            raise Unavailable("this tenant-manager knows no broker: set its FREEHOLD_AMQP_URL")
        return self._amqp_url.get_secret_value()

    async def redrive(self, running: Running) -> dict[str, Any]:
        """Put parked doorbells back, each once; a repeated run continues.

        Raises:
            Unavailable: The broker does not answer.
        """
        before: int = running.state.get("redriven", 0)
        limit: int | None = running.parameters.get("limit")
        total = before
        saved_at = time.monotonic()

        async def save() -> None:
            await running.save(0.0, f"{total:,} doorbells put back", redriven=total)

        async def on_moved(moved: int) -> None:
            nonlocal total, saved_at
            total = before + moved
            if time.monotonic() - saved_at >= _SAVE_EVERY_S:
                saved_at = time.monotonic()
                await save()

        try:
            await redrive(
                self.require_broker(),
                run=str(running.operation_id),
                limit=None if limit is None else max(limit - before, 0),
                timeout_s=_TIMEOUT_S,
                on_moved=on_moved,
            )
        except LOST as error:
            # Saved for the next try, which continues from here.
            await save()
            raise Unavailable("the broker does not answer") from error
        return {"redriven": total}
