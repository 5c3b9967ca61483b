"""The outermost layer of every service: request ids, limits, deadlines, metrics, last resorts.

Pure ASGI, since it stands before every request.
"""

import asyncio
import re
import time
from uuid import uuid4

import structlog
from prometheus_client import Histogram
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freehold.contracts.problems import (
    BODY_TOO_LARGE,
    INTERNAL,
    PROBLEM_MEDIA_TYPE,
    Problem,
    overloaded,
)
from freehold.service.metrics import REQUEST_SECONDS

_log = structlog.get_logger(__name__)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}", re.ASCII)
_ID_HEADER = b"x-request-id"


class Access:
    """Gives each request an id, a size limit and a deadline, and measures it."""

    def __init__(self, app: ASGIApp, *, body_bytes_max: int, timeout_s: float) -> None:
        self._app = app
        self._body_bytes_max = body_bytes_max
        self._timeout_s = timeout_s
        self._observers: dict[tuple[str, str, int], Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        given = headers.get(_ID_HEADER, b"")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex.encode()
        structlog.contextvars.bind_contextvars(request_id=request_id.decode(), tenant_id=None)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (_ID_HEADER, request_id)]
            await send(message)

        try:
            length = headers.get(b"content-length", b"0")
            if length.isdigit() and int(length) > self._body_bytes_max:
                await _answer(body_too_large(self._body_bytes_max), send_with_id, begun=False)
                return
            async with asyncio.timeout(self._timeout_s):
                await self._app(scope, self._counted(receive), send_with_id)
        except ClientDisconnect:
            # Nobody is left to answer; counted by the status that servers log for it.
            status = 499
        except TimeoutError:
            problem = overloaded(f"no answer within {self._timeout_s:g} s; try again")
            await _answer(problem, send_with_id, begun=status != 0)
        except Exception:  # noqa: BLE001 (the last resort: every failure gets an answer)
            _log.exception("request failed", path=scope["path"])
            problem = Problem(INTERNAL, "the service failed; its log has the request id")
            await _answer(problem, send_with_id, begun=status != 0)
        finally:
            self._measure(scope, status, time.perf_counter() - started)

    def _counted(self, receive: Receive) -> Receive:
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._body_bytes_max:
                # FastAPI lets this exception through from wherever it reads a body.
                raise HTTPException(413, f"a body may have at most {self._body_bytes_max} bytes")
            return message

        return counted

    def _measure(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unknown")
        key = (scope["method"], route, status)
        observer = self._observers.get(key)
        if observer is None:
            # Methods are the client's to choose; unknown ones must not make endless series.
            method = scope["method"] if route != "unknown" else "any"
            observer = REQUEST_SECONDS.labels(method, route, str(status))
            if route != "unknown":
                self._observers[key] = observer
        observer.observe(seconds)
        if status >= 500:
            _log.warning("request", path=scope["path"], status=status, seconds=round(seconds, 4))
        else:
            _log.debug("request", path=scope["path"], status=status, seconds=round(seconds, 4))


def body_too_large(bytes_max: int) -> Problem:
    """Make the problem of a body over the limit."""
    return Problem(BODY_TOO_LARGE, f"a body may have at most {bytes_max} bytes")


async def _answer(problem: Problem, send: Send, *, begun: bool) -> None:
    if begun:
        return
    body = problem.body()
    await send(
        {
            "type": "http.response.start",
            "status": problem.kind.status,
            "headers": [
                (b"content-type", PROBLEM_MEDIA_TYPE.encode()),
                (b"content-length", str(len(body)).encode()),
                *(
                    (name.lower().encode(), value.encode())
                    for name, value in problem.headers.items()
                ),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})
