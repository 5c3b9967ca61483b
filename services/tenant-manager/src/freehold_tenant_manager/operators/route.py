"""The class of every route of operators: who asks, may they, and the record of it.

It stands before all else of a route, so no route can leave it out. The service does not start with
one of another class.
"""

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.routing import APIRoute
from starlette.types import Message, Receive, Scope, Send

from freehold.http.authentication import sole_authorization
from freehold.http.media_types import FORM
from freehold_tenant_manager.http.components import Components
from freehold_tenant_manager.operators.acts import Acts
from freehold_tenant_manager.operators.authority import Operator, is_act, needed_role
from freehold_tenant_manager.operators.details import (
    DetailNames,
    form_document,
    json_document,
    named_in,
)
from freehold_tenant_manager.operators.operators import Operators

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class OperatorRoute(APIRoute):
    """A route that asks for an operator's token, and records acts."""

    def get_route_handler(self) -> Handler:
        """Make the handler of requests to this route."""
        handle = super().get_route_handler()
        act = self.operation_id or self.name

        async def identify_and_handle(request: Request) -> Response:
            components: Components = request.app.state.components
            operator = await self.identify(request, components)
            request.state.operator = operator
            if is_act(request.method, act):
                return await _recorded(components, operator, act, request, handle)
            operator.require(needed_role(request.method, act))
            return await handle(request)

        return identify_and_handle

    async def identify(self, request: Request, components: Components) -> Operator:
        """Find out who asks, by the token that the request has.

        Raises:
            Unauthorized: The token is missing, wrong, revoked or expired.
            Unavailable: The catalog is needed to decide, and does not answer.
        """
        return await components.find(Operators).identify(
            sole_authorization(request), address_of(request)
        )


def require_operator_routes(router: APIRouter) -> None:
    """Check that no route of a router is open to everyone.

    Raises:
        TypeError: One is no OperatorRoute.
    """
    for route in router.routes:
        if not isinstance(route, OperatorRoute):
            raise TypeError(f"{route} must be an OperatorRoute: nobody would be asked who they are")


def address_of(request: Request) -> str | None:
    """Give the other end of a request's connection. Headers of proxies can be forged."""
    return request.client.host if request.client else None


async def _recorded(
    components: Components, operator: Operator, act: str, request: Request, handle: Handler
) -> Response:
    """Have a request handled as an act."""
    body = await request.body()
    document = (form_document if _is_form(request) else json_document)(body)
    details = components.find(DetailNames).details(request.query_params, document)
    tenant_id, target = named_in(request.path_params, details)
    async with AsyncExitStack() as stack:
        recorded = await stack.enter_async_context(
            components.find(Acts).recorded(
                operator, act, tenant_id=tenant_id, target=target, details=details
            )
        )
        operator.require(needed_role(request.method, act))
        response = await handle(Request(request.scope, _again(body, request.receive)))
        recorded.outcome["status"] = response.status_code
        if isinstance(response, StreamingResponse):
            return _RecordedStream(response, stack.pop_all())
    return response


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").startswith(FORM)


def _again(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read already once more, and then what follows it."""
    is_given = False

    async def receive_again() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


class _RecordedStream(Response):
    """An answer that is sent for a while. The act ends with it."""

    def __init__(self, response: Response, until: AsyncExitStack) -> None:
        super().__init__(status_code=response.status_code)
        self._response: Callable[[Scope, Receive, Send], Awaitable[None]] = response
        self._until = until

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer.

        Raises:
            DomainError, ClientDisconnect, DumpError: As the answer does.
        """
        async with self._until:
            await self._response(scope, receive, send)
