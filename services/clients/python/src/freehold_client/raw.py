"""The raw way: any request, and its whole answer."""

from collections.abc import Mapping

import httpx
import msgspec

from freehold_client.calls import Content, is_repeatable, texts
from freehold_client.core import Core
from freehold_client.errors import SettingsError
from freehold_client.generated.routes import ROUTES
from freehold_client.methods import Plan
from freehold_client.routes import Route, Service
from freehold_client.settings import Settings


def request(
    method: str,
    path: str,
    *,
    service: str | None = None,
    params: Mapping[str, object] | None = None,
    json: object = None,
    content: Content | None = None,
    headers: Mapping[str, str] | None = None,
    idempotency_key: str | None = None,
) -> Plan[httpx.Response]:
    """Send any request, and give its whole answer, whatever the status.

    It has this client's credential where one is set, and is sent again like any other: where its
    method or an idempotency key allows.

    Args:
        method: The HTTP method.
        path: As `/v1/events`.
        service: `ingest`, `query` or `tenant_manager`. The paths of the API tell theirs.
        params: The query string; those that are None are left out.
        json: A body, written as JSON.
        content: A body as it is. One in pieces is sent once.
        headers: More headers; `Authorization` takes the place of this client's credential.
        idempotency_key: The header Idempotency-Key.

    Raises:
        NoAnswerError: There is no answer on any try.
        SettingsError: The path does not tell the service.
    """
    bare = path.partition("?")[0]
    route = next((one for one in ROUTES.values() if one.matches(method, bare)), None)
    asked = _service(path, service, route)

    async def send(core: Core) -> httpx.Response:
        sent = _credential(core.settings, asked, route)
        body = content
        if json is not None:
            body = msgspec.json.encode(json)
            sent["Content-Type"] = "application/json"
        if idempotency_key is not None:
            sent["Idempotency-Key"] = idempotency_key
        sent.update(headers or {})
        request = core.new_request(
            asked, method, path, params=texts(params or {}), content=body, headers=sent
        )
        again = is_repeatable(method, sent) and (body is None or isinstance(body, bytes))
        return await core.send(asked, request, again=again)

    return send


def _service(path: str, named: str | None, route: Route | None) -> Service:
    if named is not None:
        return Service(named)
    if route is None:
        raise SettingsError(f"{path} may be of any service: name one with `service`")
    return route.service


def _credential(settings: Settings, service: Service, route: Route | None) -> dict[str, str]:
    is_operators = service is Service.TENANT_MANAGER if route is None else route.is_operators
    credential = settings.operator_token if is_operators else settings.api_key
    return {} if credential is None else {"Authorization": f"Bearer {credential}"}
