"""The parked queue: doorbells that cannot be served, each with the reason.

A parked doorbell loses nothing: the events stand in the ledger, and the next doorbell of the tenant
projects them too. The way back is freehold.messaging.redrive.
"""

from datetime import UTC, datetime

import structlog

from freehold.messaging.broker import Broker, Delivery, acknowledge, copy_of
from freehold.messaging.redrive import REDRIVE_HEADER
from freehold.messaging.topology import PARKED_QUEUE
from freehold_projector.metrics import DOORBELLS

_log = structlog.get_logger(__name__)

REASON_HEADER = "x-freehold-reason"
_PARKED_AT_HEADER = "x-freehold-parked-at"
_REASON_CHARACTERS_MAX = 500


async def park(broker: Broker, delivery: Delivery, reason: str) -> None:
    """Move a doorbell to the parked queue. It is acknowledged when it is there.

    Raises:
        LinkError: The broker did not confirm; the delivery is still unacknowledged.
    """
    headers = {
        REASON_HEADER: reason[:_REASON_CHARACTERS_MAX],
        _PARKED_AT_HEADER: datetime.now(UTC).isoformat(),
    }
    redriven = delivery.headers.get(REDRIVE_HEADER)
    if redriven is not None:
        headers[REDRIVE_HEADER] = str(redriven)
    await broker.put(PARKED_QUEUE, copy_of(delivery, headers))
    await acknowledge([delivery])
    DOORBELLS.labels("parked").inc()
    _log.error("doorbell parked", reason=reason, message_id=delivery.message_id)
