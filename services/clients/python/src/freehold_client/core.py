"""What all calls go through: addresses, credentials, tries. It waits as its transports do."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from importlib.metadata import version
from itertools import count
from typing import Any, TypeVar

import httpx

from freehold_client.calls import Call, Content
from freehold_client.errors import NoAnswerError, error_of
from freehold_client.pauses import COME_AGAIN, Pauses, retry_after_s
from freehold_client.routes import Service
from freehold_client.settings import Settings
from freehold_client.transports import Transport

T = TypeVar("T")

# What a later try may not meet again. Others it would, such as a header that HTTP does not allow.
_PASSING = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError)
_CONNECT_S = 10.0


class Core:
    """Sends requests until they are answered for good, or the time is over.

    Args:
        settings: Addresses and credentials.
        open_transport: Makes the transport to an address, on its first use.
        timeout_s: How long one try waits for the service to take or to send bytes.
        retry_for_s: No further try begins later than this after the first.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        settings: Settings,
        open_transport: Callable[[str], Transport],
        *,
        timeout_s: float,
        retry_for_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.pauses = Pauses(retry_for_s)
        self.clock = clock
        self._open_transport = open_transport
        self._timeout_s = timeout_s
        self._transports: dict[Service, Transport] = {}
        self._headers = {"Accept": "*/*", "Accept-Encoding": "gzip", "User-Agent": _user_agent()}

    def transport(self, service: Service) -> Transport:
        """Give the transport to a service."""
        found = self._transports.get(service)
        if found is None:
            # Another thread may have opened one meanwhile; both keep that one.
            opened = self._open_transport(self.settings.url(service))
            found = self._transports.setdefault(service, opened)
        return found

    async def close(self) -> None:
        """Close all connections."""
        while self._transports:
            _, transport = self._transports.popitem()
            await transport.close()

    async def answer(self, call: Call[T]) -> T:
        """Send a call, and give what its answer says.

        Raises:
            Problem: Freehold refuses it, or fails on every try.
            NoAnswerError: There is no answer on any try.
            UnexpectedAnswerError: The answer is none of Freehold's.
            SettingsError: The credential is not set.
        """
        return call.read(await self.response(call))

    async def response(self, call: Call[Any]) -> httpx.Response:
        """Send a call, and give its answer as it is, which is a success.

        Raises:
            Problem: As above, and so are the others.
        """
        service = call.route.service
        return _accepted(await self.send(service, self._request_of(call), again=call.is_repeatable))

    async def send(
        self, service: Service, request: httpx.Request, *, again: bool
    ) -> httpx.Response:
        """Send a request, and give its whole answer, whatever the status.

        Args:
            service: Whom it is sent to.
            request: The request.
            again: Whether it may be sent again.

        Raises:
            NoAnswerError: There is no answer on any try.
        """
        transport = self.transport(service)
        return await self._insist(transport, request, transport.send, again=again)

    @asynccontextmanager
    async def opened(
        self, call: Call[Any], *, timeout_s: float, **headers: str
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Send a call, and give the body of its answer piece by piece.

        Args:
            call: The call.
            timeout_s: How long to wait for each piece.
            headers: More headers.

        Raises:
            Problem: As above, and so are the others.
            NoAnswerError: Also where the body breaks off.
        """
        transport = self.transport(call.route.service)
        request = self._request_of(call, timeout_s=timeout_s, **headers)
        async with AsyncExitStack() as stack:

            async def attempt(request: httpx.Request) -> httpx.Response:
                answer = await stack.enter_async_context(transport.open(request))
                if not answer.is_success:
                    await transport.read(answer)
                return answer

            answer = _accepted(
                await self._insist(transport, request, attempt, again=call.is_repeatable)
            )
            try:
                yield transport.pieces(answer)
            except httpx.RequestError as error:
                raise _unanswered(request, error) from error

    def new_request(
        self,
        service: Service,
        method: str,
        path: str,
        *,
        params: Mapping[str, str],
        content: Content | None,
        headers: Mapping[str, str],
        timeout_s: float | None = None,
    ) -> httpx.Request:
        """Make a request."""
        silence_s = self._timeout_s if timeout_s is None else timeout_s
        timeout = httpx.Timeout(silence_s, connect=min(_CONNECT_S, silence_s))
        return httpx.Request(
            method,
            self.settings.url(service) + path,
            # Without any, a query that the path has stays.
            params=params or None,
            content=content,
            headers=_encoded({**self._headers, **headers}),
            extensions={"timeout": timeout.as_dict()},
        )

    def _request_of(
        self, call: Call[Any], *, timeout_s: float | None = None, **headers: str
    ) -> httpx.Request:
        credential = self.settings.credential(of_operator=call.route.is_operators)
        return self.new_request(
            call.route.service,
            call.route.method,
            call.path,
            params=call.params,
            content=call.content,
            headers={
                "Accept": "application/json",
                "Authorization": f"Bearer {credential}",
                **call.headers,
                **headers,
            },
            timeout_s=timeout_s,
        )

    async def _insist(
        self,
        transport: Transport,
        request: httpx.Request,
        attempt: Callable[[httpx.Request], Awaitable[httpx.Response]],
        *,
        again: bool,
    ) -> httpx.Response:
        """Try until the answer is for good, or no further try would be in time."""
        began = self.clock()
        for tries in count(1):
            answer = failure = asked_s = None
            try:
                answer = await attempt(request)
            except httpx.RequestError as error:
                failure = error
            else:
                asked_s = retry_after_s(answer.headers)
            pause_s = None
            if again and _may_pass(answer, failure):
                pause_s = self.pauses.before(tries, self.clock() - began, asked_s)
            if pause_s is not None:
                await transport.pause(pause_s)
            elif answer is not None:
                return answer
            else:
                raise _unanswered(request, failure) from failure
        raise AssertionError("count has no end")


@cache
def _user_agent() -> str:
    # The version is read from a file, which takes a millisecond.
    return f"freehold-client/{version('freehold-client')}"


def _may_pass(answer: httpx.Response | None, failure: Exception | None) -> bool:
    if answer is None:
        return isinstance(failure, _PASSING)
    return answer.status_code in COME_AGAIN


def _encoded(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    """Encode headers; of two that differ in case only, the later one counts."""
    # By itself httpx refuses what is not ASCII; the service says better what is wrong with it.
    return {name.lower().encode(): value.encode() for name, value in headers.items()}


def _accepted(answer: httpx.Response) -> httpx.Response:
    error = error_of(answer)
    if error is not None:
        raise error
    return answer


def _unanswered(request: httpx.Request, error: Exception | None) -> NoAnswerError:
    where = request.url.copy_with(query=None)
    return NoAnswerError(
        f"{request.method} {where} was not answered: {str(error) or type(error).__name__}"
    )
