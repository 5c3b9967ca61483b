"""Admission to live streams: who may have one, how many there are, and until when."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Hashable

from freehold.contracts.errors import DomainError, NotNow, Overloaded, TooManyRequests
from freehold.observability.metrics import REQUESTS_REFUSED
from freehold.tenants.directory import Directory
from freehold_query.readers import Reader
from freehold_query.reads import Reads
from freehold_query.stream.doorbells import Doorbells
from freehold_query.stream.feeds import Feed, Pace
from freehold_query.stream.metrics import STREAMS
from freehold_query.stream.positions import BEGINNING, WHOLE, Positions, Span
from freehold_query.stream.streams import Authenticate, Stream

_FULL_S = 5.0


class Admission:
    """Lets clients in, and ends their streams when they may not read any more."""

    def __init__(
        self,
        directory: Directory,
        reads: Reads,
        doorbells: Doorbells | None,
        *,
        streams_max: int,
        per_tenant_max: int,
        heartbeat_s: float,
    ) -> None:
        """Set up.

        Args:
            directory: Knows tenants' homes.
            reads: Reads tenants' databases.
            doorbells: Tell of changes; None where there is no broker.
            streams_max: Streams at once.
            per_tenant_max: Those of one tenant.
            heartbeat_s: A stream is silent for no longer than this.
        """
        self._directory = directory
        self._reads = reads
        self._doorbells = doorbells
        self._streams_max = streams_max
        self._per_tenant_max = per_tenant_max
        self._heartbeat_s = heartbeat_s
        self._open: set[Stream] = set()
        self._feeds: dict[str, Feed] = {}
        self._pace = Pace()
        self._clients: Counter[str] = Counter()
        self._stopped = False

    async def open(
        self,
        reader: Reader,
        authenticate: Authenticate,
        *,
        account_prefix: str,
        span: Span = WHOLE,
        snapshot: bool,
        last_event_id: str | None,
        as_strings: bool,
    ) -> Stream:
        """Begin a stream, which must be closed.

        Args:
            reader: Who asks.
            authenticate: Authenticates the reader again.
            account_prefix: Of which accounts.
            span: Of which of their balances.
            snapshot: Whether all balances come first, if nothing is resumed.
            last_event_id: Where an earlier stream ended.
            as_strings: Whether amounts are sent as strings.

        Raises:
            ValidationFailed: An earlier stream of other accounts sent the id.
            TooManyRequests: The tenant has too many streams.
            Overloaded: This process has.
            DomainError: The tenant's database cannot be read now.
        """
        tenant_id = reader.home.tenant_id
        prefix = reader.within(account_prefix)
        position = None
        if last_event_id is not None:
            position = Positions(tenant_id, prefix, span).position_of(last_event_id)
        feed = self._enter(tenant_id)
        try:
            await feed.begun()
        except BaseException:
            self._leave(feed)
            raise
        if position is None:
            position = feed.position._replace(listed=BEGINNING if snapshot else None)
        stream = Stream(
            feed,
            self._reads,
            prefix,
            span,
            position,
            as_strings=as_strings,
            reader=reader,
            authenticate=authenticate,
            heartbeat_s=self._heartbeat_s,
        )
        self._open.add(stream)
        if self._stopped:
            stream.stop()
        return stream

    def close(self, stream: Stream) -> None:
        """End a stream."""
        self._open.discard(stream)
        stream.close()
        self._leave(stream.feed)

    def stop(self) -> None:
        """End all streams, since the service stops."""
        self._stopped = True
        for stream in self._open:
            stream.stop()

    async def check_clients(self) -> bool:
        """End the streams of clients who may not read any more; nothing is waiting then."""
        by_credential: defaultdict[Hashable, list[Stream]] = defaultdict(list)
        for stream in self._open:
            by_credential[stream.credential].append(stream)
        await asyncio.gather(*map(_check, by_credential.values()))
        return False

    def _enter(self, tenant_id: str) -> Feed:
        """Count a client, and give their tenant's feed."""
        if self._clients[tenant_id] >= self._per_tenant_max:
            REQUESTS_REFUSED.labels("streams_per_tenant_max").inc()
            raise TooManyRequests(
                f"the tenant has {self._per_tenant_max} live streams already", retry_after_s=_FULL_S
            )
        if self._clients.total() >= self._streams_max:
            REQUESTS_REFUSED.labels("streams_max").inc()
            raise Overloaded("there are too many live streams", retry_after_s=_FULL_S)
        self._clients[tenant_id] += 1
        STREAMS.inc()
        feed = self._feeds.get(tenant_id)
        if feed is None:
            feed = Feed(tenant_id, self._directory, self._reads, self._pace)
            self._feeds[tenant_id] = feed
            if self._doorbells is not None:
                self._doorbells.watch(tenant_id, feed.ring)
        return feed

    def _leave(self, feed: Feed) -> None:
        STREAMS.dec()
        self._clients[feed.tenant_id] -= 1
        if self._clients[feed.tenant_id] == 0:
            del self._clients[feed.tenant_id], self._feeds[feed.tenant_id]
            feed.close()
            if self._doorbells is not None:
                self._doorbells.unwatch(feed.tenant_id)


async def _check(streams: list[Stream]) -> None:
    """End the streams with a credential that is not valid any more."""
    try:
        await streams[0].authenticate()
    except NotNow:
        # Nothing is known: as for requests, what was known before goes on.
        return
    except DomainError as error:
        for stream in streams:
            stream.refuse(error)
