"""Leases: a row that one process at a time works on, until it is done or the lease ends.

Each table with such rows has the columns `leased_by` (the owner, a uuid that a process makes at its
start) and `leased_until`, and its queries have one form. The server's clock decides.

- Claim: `UPDATE … SET leased_by = $owner, leased_until = now() + $lease WHERE key IN (SELECT key …
  WHERE leased_until < now() … ORDER BY … LIMIT $n FOR UPDATE SKIP LOCKED) RETURNING …`. Processes
  that claim at the same time get different rows, and none waits for another.
- Renew: `SET leased_until = now() + $lease WHERE key = … AND leased_by = $owner`. No row: lost.
- Release: `SET leased_by = NULL, leased_until = '-infinity' WHERE key = … AND leased_by = $owner`.

tenant-manager's operations have a status as well: a claim takes one that is queued, or one that is
running and whose lease has ended. Its release makes it queued.

A process that dies releases nothing: its leases end, and another process claims the rows. Work must
therefore be repeatable. Work that is sure to be short needs no renewal: it takes `asyncio.timeout`
of the lease's length.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from freehold.aio.tasks import end
from freehold.contracts.errors import DomainError

_RENEWALS = 5
"""How often a lease is renewed within its length. One renewal may well fail."""


class LeaseLostError(Exception):
    """The lease ended, or another process has it: stop at once."""


@asynccontextmanager
async def kept(renew: Callable[[], Awaitable[bool]], *, lease_s: float) -> AsyncIterator[None]:
    """Renew a claimed lease while the body runs; the body is cancelled when the lease is lost.

    It counts as lost a fifth before its end, so that the body has stopped when others may claim.

    Args:
        renew: Renews it; answers whether it was still this process's. May raise DomainError if the
            database does not answer.
        lease_s: The lease's length in seconds, from each renewal.

    Raises:
        LeaseLostError: It was lost before the body ended.
    """
    pause_s = lease_s / _RENEWALS
    loop = asyncio.get_running_loop()

    async def keep_renewing(lost: asyncio.Timeout) -> None:
        while not lost.expired():
            await asyncio.sleep(pause_s)
            asked_at = loop.time()
            try:
                is_ours = await renew()
            except DomainError:
                continue
            if not lost.expired():
                lost.reschedule(asked_at + lease_s - pause_s if is_ours else asked_at)

    try:
        async with asyncio.timeout(lease_s - pause_s) as lost:
            keeper = asyncio.create_task(keep_renewing(lost))
            try:
                yield
            finally:
                await end(keeper)
    except TimeoutError:
        if lost.expired():
            raise LeaseLostError from None
        raise
