"""What this process takes of each tenant: so many events a second, and so many requests at once.

It stands before every request, so it is plain arithmetic; and a refusal comes before the body is
read, but for small ones, as the flood that it is there for must cost as little as can be.
"""

import asyncio
import math
import time
from collections.abc import Callable

from freehold.contracts.problems import too_many_requests
from freehold.tenancy.homes import Home

_BURST_S = 2
"""What a tenant has left unused, up to so many seconds' worth, may come at once."""
_REOPENS_AT_S = 0.1
"""Who has been refused is let in again when so many seconds' worth has come back.

Let in one by one, each as its event comes free, they would cost one append each, and the doorbell
and the projection behind it: several at once share those, and their neighbours have them to spare.
"""
_SWEPT_AT_LEAST = 1024
_PAUSE_S_MAX = 0.5


class Share:
    """One tenant's share: a bucket of events that fills as time goes by, and places for requests.

    A request takes at least one event out, whatever becomes of it. One with more events may take
    what is not there yet; whoever comes next is let in when that has been made up for. Who finds
    the bucket empty finds it closed, until there is enough in it for several.
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
        # So many must be there for a request to be let in.
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
            Problem: too-many-requests.
        """
        if self._requests >= self._requests_max:
            raise too_many_requests(
                f"no more than {self._requests_max} of the tenant's requests are worked on at once"
            )
        self._fill()
        if self._left < self._needed:
            self._needed = max(1.0, self._events_per_s * _REOPENS_AT_S)
            self._refuse()
        self._needed = 1.0
        self._left -= 1
        self._requests += 1

    def spend(self, events: int) -> None:
        """Count the events of a request, when it is known how many it has.

        Raises:
            Problem: too-many-requests, where others were faster to spend what was left.
        """
        self._fill()
        if self._left < 0:
            self._refuse()
        self._left -= events - 1

    def leave(self) -> None:
        """Let a request go."""
        self._requests -= 1

    def undo(self) -> None:
        """Take back that a request was let in."""
        self._requests -= 1
        self._left += 1

    def pause_s(self) -> float:
        """Say how long it takes until a request is let in."""
        self._fill()
        return max(0.0, (self._needed - self._left) / self._events_per_s)

    @property
    def idle(self) -> bool:
        """Whether a new share would be the same as this one."""
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
        # In whole seconds (RFC 9110, section 10.2.3).
        raise too_many_requests(
            f"the tenant sends more than {self._events_per_s} events a second",
            max(1, math.ceil((self._needed - self._left) / self._events_per_s)),
        )


class Limits:
    """The shares of all tenants who are here."""

    def __init__(
        self,
        *,
        events_per_s: int,
        requests_max: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set what holds for tenants for whom the catalog says nothing else.

        Args:
            events_per_s: Events accepted of one tenant in a second.
            requests_max: Requests of one tenant worked on at once.
            clock: Tells the time in seconds; never goes back.
        """
        self._events_per_s = events_per_s
        self._requests_max = requests_max
        self._clock = clock
        self._shares: dict[str, Share] = {}
        self._swept_at = _SWEPT_AT_LEAST

    def __len__(self) -> int:
        """How many tenants have a share that is not forgotten."""
        return len(self._shares)

    def enter(self, home: Home) -> Share:
        """Let a request of a tenant in; whoever lets it in calls `leave` of what this returns.

        Raises:
            Problem: too-many-requests, with the time to wait.
        """
        share = self._share(home)
        share.enter()
        return share

    def spend(self, home: Home, events: int) -> None:
        """Count the events of a tenant's request that was let in.

        Raises:
            Problem: too-many-requests, where others were faster to spend what was left.
        """
        self._share(home).spend(events)

    async def spend_in_time(self, home: Home, events: int) -> None:
        """Wait until a tenant may send again and count these events, for who can wait for that."""
        share = self._share(home)
        while pause_s := share.pause_s():  # noqa: ASYNC110 (time itself is waited for)
            # In small steps, as the limits may change meanwhile.
            await asyncio.sleep(min(pause_s, _PAUSE_S_MAX))
        # One more: of these none was taken already, as one is of a request that is let in.
        share.spend(events + 1)

    def _share(self, home: Home) -> Share:
        share = self._shares.get(home.tenant_id)
        # The directory gives the same home until the catalog speaks of a change.
        if share is not None and share.home is home:
            return share
        events_per_s = home.ingest_events_per_s or self._events_per_s
        requests_max = home.ingest_requests_max or self._requests_max
        if share is None:
            self._sweep()
            share = Share(home, events_per_s, requests_max, self._clock)
            self._shares[home.tenant_id] = share
        else:
            share.limit(home, events_per_s, requests_max)
        return share

    def _sweep(self) -> None:
        """Forget the shares of tenants who have not been here lately."""
        if len(self._shares) < self._swept_at:
            return
        self._shares = {
            tenant_id: share for tenant_id, share in self._shares.items() if not share.idle
        }
        # Twice as many before the next time, so that sweeping costs each newcomer little.
        self._swept_at = max(_SWEPT_AT_LEAST, 2 * len(self._shares))
