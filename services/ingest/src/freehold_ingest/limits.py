"""What this process takes of each tenant: events a second, and requests at once.

Limits stand before every request, so they are plain arithmetic. A request is refused before its
body is read: to refuse a flood must cost as little as can be.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

from freehold.contracts.errors import TooManyRequests
from freehold.tenants.homes import Home

_BURST_S = 2
"""A bucket holds the events of this many seconds, which may come at once."""
_REOPENS_AT_S = 0.1
"""A bucket that was empty lets requests in again when it has this many seconds' worth of events.

Requests let in one by one, each as its event comes free, would cost one append each, with its
doorbell and projection. Several at once share those, and leave more to the other tenants.
"""
_SWEPT_AT_LEAST = 1024
_PAUSE_S_MAX = 0.5

_REFUSED_AT_ONCE = 5
_REFUSING_PAUSE_S = 0.01
_REFUSED_WAITING_MAX = 256
"""More refusals do not wait, as each of them counts among the requests in flight."""


class TokenBucket:
    """One tenant's limits: a bucket of events that time fills, and a number of requests at once.

    A request takes at least one event out, whatever becomes of it. A request with more events may
    take what is not there yet; the next request is let in when that has been made up for. A
    request that finds the bucket empty closes it, until there is enough in it for several.
    """

    __slots__ = (
        "_at",
        "_clock",
        "_events_max",
        "_events_per_s",
        "_left",
        "_needed",
        "_requests",
        "_requests_max",
        "home",
    )

    def __init__(
        self, home: Home, events_per_s: int, requests_max: int, clock: Callable[[], float]
    ) -> None:
        self._clock = clock
        self._at = clock()
        self._left = float(events_per_s * _BURST_S)
        # A request is let in when this many events are there.
        self._needed = 1.0
        self._requests = 0
        self._set(home, events_per_s, requests_max)

    def limit(self, home: Home, events_per_s: int, requests_max: int) -> None:
        """Hold the tenant to other limits from now on."""
        self._fill()
        self._needed = 1.0
        self._set(home, events_per_s, requests_max)

    def enter(self) -> None:
        """Let a request in; `leave` must follow.

        Raises:
            DomainError: too-many-requests.
        """
        if self._requests >= self._requests_max:
            raise TooManyRequests(
                f"no more than {self._requests_max} of the tenant's requests are worked on at once"
            )
        self._fill()
        if self._left < self._needed:
            self._needed = max(1.0, self._events_per_s * _REOPENS_AT_S)
            self._refuse()
        self._needed = 1.0
        self._left -= 1
        self._requests += 1

    def __enter__(self) -> Home:
        """Return the tenant's home, to a request that was let in."""
        return self.home

    def __exit__(self, *_: object) -> None:
        """Let the request go."""
        self.leave()

    def spend(self, events: int) -> None:
        """Count the events of a request that was let in, beyond the one counted then.

        Raises:
            DomainError: too-many-requests, where other requests have spent what was left.
        """
        self._fill()
        if self._left < 0:
            self._refuse()
        self.charge(events)

    def charge(self, events: int) -> None:
        """Count the events of a request that were appended already, beyond the one counted then."""
        self._left -= events - 1

    def leave(self) -> None:
        """Let a request go."""
        self._requests -= 1

    def pause_s(self) -> float:
        """Return the seconds until a request is let in."""
        self._fill()
        return max(0.0, (self._needed - self._left) / self._events_per_s)

    @property
    def idle(self) -> bool:
        """Whether a new bucket would be the same as this one."""
        self._fill()
        return self._requests == 0 and self._left >= self._events_max

    def _set(self, home: Home, events_per_s: int, requests_max: int) -> None:
        self.home = home
        self._events_per_s = events_per_s
        self._events_max = float(events_per_s * _BURST_S)
        self._left = min(self._left, self._events_max)
        self._requests_max = requests_max

    def _fill(self) -> None:
        now = self._clock()
        left = self._left + (now - self._at) * self._events_per_s
        self._left = min(self._events_max, left)
        self._at = now

    def _refuse(self) -> None:
        raise TooManyRequests(
            f"the tenant sends more than {self._events_per_s} events a second",
            retry_after_s=max(1, (self._needed - self._left) / self._events_per_s),
        )


class Limits:
    """The token buckets of the tenants that were here lately."""

    def __init__(
        self, *, events_per_s: int, requests_max: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Set the limits of tenants that have none of their own in the catalog.

        Args:
            events_per_s: Events accepted of one tenant in a second.
            requests_max: Requests of one tenant worked on at once.
            clock: Returns the time in seconds; never goes back.
        """
        self._events_per_s = events_per_s
        self._requests_max = requests_max
        self._clock = clock
        self._buckets: dict[str, TokenBucket] = {}
        self._swept_at = _SWEPT_AT_LEAST

    def __len__(self) -> int:
        """Return how many tenants have a bucket."""
        return len(self._buckets)

    def enter(self, home: Home) -> TokenBucket:
        """Let a tenant's request in, for as long as `with` the bucket lasts.

        Raises:
            DomainError: too-many-requests, with the time to wait.
        """
        bucket = self._bucket(home)
        bucket.enter()
        return bucket

    def spend(self, home: Home, events: int) -> None:
        """Count the events of a tenant's request that was let in.

        Raises:
            DomainError: too-many-requests, where other requests have spent what was left.
        """
        self._bucket(home).spend(events)

    def charge(self, home: Home, events: int) -> None:
        """Count the events of a tenant's request that were appended already."""
        self._bucket(home).charge(events)

    async def spend_in_time(self, home: Home, events: int) -> None:
        """Wait until a tenant may send again, and count these events."""
        bucket = self._bucket(home)
        while pause_s := bucket.pause_s():  # noqa: ASYNC110 (time itself is waited for)
            # In small steps, as the limits may change meanwhile.
            await asyncio.sleep(min(pause_s, _PAUSE_S_MAX))
        # One more, as no request was let in that has taken one.
        bucket.spend(events + 1)

    def _bucket(self, home: Home) -> TokenBucket:
        bucket = self._buckets.get(home.tenant_id)
        # The directory gives the same home until the catalog reports a change.
        if bucket is not None and bucket.home is home:
            return bucket
        events_per_s = home.ingest_events_per_s or self._events_per_s
        requests_max = home.ingest_requests_max or self._requests_max
        if bucket is None:
            self._sweep()
            bucket = TokenBucket(home, events_per_s, requests_max, self._clock)
            self._buckets[home.tenant_id] = bucket
        else:
            bucket.limit(home, events_per_s, requests_max)
        return bucket

    def _sweep(self) -> None:
        """Forget the buckets of tenants that sent nothing lately."""
        if len(self._buckets) < self._swept_at:
            return
        self._buckets = {
            tenant_id: bucket for tenant_id, bucket in self._buckets.items() if not bucket.idle
        }
        # Twice as many before the next sweep, so that sweeping costs each newcomer little.
        self._swept_at = max(_SWEPT_AT_LEAST, 2 * len(self._buckets))


class RefusalPace:
    """Holds refusals back, so that a flood of them leaves time to the requests let in.

    A client that sends again as soon as it is refused waits for each refusal.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_running = False

    async def wait(self) -> None:
        """Wait for the turn of one refusal."""
        if len(self._waiting) >= _REFUSED_WAITING_MAX:
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        if not self._is_running:
            self._is_running = True
            loop.call_soon(self._release, loop)
        await turn

    def _release(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_running = bool(self._waiting)
        if self._is_running:
            loop.call_later(_REFUSING_PAUSE_S, self._release, loop)
        for _ in range(min(len(self._waiting), _REFUSED_AT_ONCE)):
            turn = self._waiting.popleft()
            # A request that was late or whose client left waits no more.
            if not turn.done():
                turn.set_result(None)
