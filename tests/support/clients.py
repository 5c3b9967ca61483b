"""Freehold as its users reach it: over HTTP alone.

Every answer is held to what the contract says of all answers, so no test needs to repeat it.
"""

import re
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import httpx

from freehold.http.catalogue import PROBLEM_TYPES
from freehold_client import AsyncFreehold, NoAnswerError
from freehold_client.transports import AsyncTransport
from support.documents import resolved, validate
from support.operations import ended
from support.stacks import Addresses
from support.waiting import PATIENCE_S, eventually

Document = dict[str, Any]

NEW_KEY = "a new key for each request"

# Of pydantic and of Python, which speak to programmers.
FRAMEWORK = re.compile(
    r"\b(should (be|have|match|not)|Value error|Field required|Extra inputs|isoformat|valid string)"
    r"|Errno|Traceback|0x[0-9a-f]{8}"
)

NOT_UNDONE: Document = {"reversed_by_event_id": None, "refunded_minor": 0, "refunds": []}
"""What an event's own page says beside the event while nothing has undone it."""

_STATUS_OF = {kind.uri: kind.status for kind in PROBLEM_TYPES}
_SLUG = re.compile(r"/problems/[a-z0-9-]+")
# RFC 6901; the empty one is the whole document.
_POINTER = re.compile(r"(/([^~/]|~[01])*)*")
_TIMEOUT_S = 60
# Each client is one of a single address, and so takes all of its requests for this service.
_ANY_SERVICE = "query"


class Freehold:
    """A running Freehold."""

    def __init__(self, addresses: Addresses, clients: Mapping[str, AsyncFreehold]) -> None:
        self.addresses = addresses
        self._clients = clients
        self._documents: dict[str, Document] = {}
        """What each service says of itself, by its address."""

    @property
    def services(self) -> dict[str, str]:
        """The address of each service that is known, by the service's name."""
        return services_at(self.addresses)

    async def ask(
        self,
        method: str,
        url: str,
        *,
        bearer: str | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
    ) -> httpx.Response:
        """Send one request and check of its answer what holds for every answer.

        Args:
            method: The HTTP method.
            url: The whole URL.
            bearer: What is sent as the credential, if anything.
            headers: Headers besides.
            params: The query string.
            body: Bytes are sent as they are; anything else is written as JSON.
        """
        sent = {"Content-Type": "application/json"} if body is not None else {}
        if bearer is not None:
            sent["Authorization"] = f"Bearer {bearer}"
        sent.update(headers or {})
        written = {"content": body} if isinstance(body, bytes) else {"json": body}
        answer = await self._send(method, url, headers=sent, params=params, **written)
        assert answer.headers["x-request-id"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert {"cache-control", "content-security-policy", "date"} <= set(answer.headers)
        assert "server" not in answer.headers
        if answer.status_code >= 400 and not url.endswith("/readyz"):
            _check_problem(answer)
            await self._check_documented(method, url, answer)
        return answer

    async def _check_documented(self, method: str, url: str, answer: httpx.Response) -> None:
        """Hold a problem to those that the service's documentation names for what was asked."""
        base = next((base for base in self.services.values() if url.startswith(base)), None)
        if base is None:
            return
        if base not in self._documents:
            try:
                self._documents[base] = (await self._send("GET", f"{base}/openapi.json")).json()
            except (NoAnswerError, ValueError):
                # It is being kept from answering, and that is what the test is about.
                return
        path = url.removeprefix(base).partition("?")[0]
        for template, item in self._documents[base]["paths"].items():
            pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template))
            operation = item.get(method.lower())
            if operation is not None and re.fullmatch(pattern, path):
                named = operation["responses"].get(str(answer.status_code))
                assert named is not None, f"{method} {path}: {answer.text}"
                _check_as_documented(self._documents[base], named, answer)
                return

    async def head(self, url: str, **more: Any) -> httpx.Response:
        """Ask for the head of an answer alone."""
        return await self._send("HEAD", url, **more)

    async def ask_streaming(
        self, url: str, body: AsyncIterator[bytes], *, headers: Mapping[str, str]
    ) -> httpx.Response:
        """Post a body without a Content-Length."""
        answer = await self._send("POST", url, content=body, headers=headers)
        if answer.status_code >= 400:
            _check_problem(answer)
        return answer

    async def _send(self, method: str, url: str, **request: Any) -> httpx.Response:
        base = next(base for base in self._clients if url.startswith(base))
        path = url.removeprefix(base)
        return await self._clients[base].request(method, path, service=_ANY_SERVICE, **request)

    async def manage(
        self, method: str, path: str, body: Any = None, *, params: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        """Ask tenant-manager, as the operator."""
        url = f"{self.addresses.tenant_manager}/v1{path}"
        return await self.ask(
            method, url, bearer=self.addresses.operator_token, body=body, params=params
        )

    async def begin(
        self, method: str, path: str, body: Any = None, *, params: Mapping[str, Any] | None = None
    ) -> Document:
        """Begin an operation, as the operator, and give it."""
        answer = await self.manage(method, path, body, params=params)
        assert answer.status_code == 202, answer.text
        operation: Document = answer.json()
        return operation

    async def end_of(self, operation: Document, *, within_s: float = PATIENCE_S) -> Document:
        """Wait until an operation has ended, and give it."""
        path = f"/operations/{operation['operation_id']}"
        return await ended(lambda: self.manage("GET", path), within_s=within_s)

    async def new_tenant(self) -> "Tenant":
        """Have a tenant made, with an empty ledger."""
        wanted = tenant_body()
        answer = await self.manage("POST", "/tenants", wanted)
        assert answer.status_code == 201, answer.text
        return Tenant(self, wanted["tenant_id"], answer.json()["api_key"])


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant, who asks with one of their keys."""

    freehold: Freehold
    tenant_id: str
    api_key: str

    def bearing(self, api_key: str) -> "Tenant":
        """The same tenant with another key."""
        return replace(self, api_key=api_key)

    @property
    def key_id(self) -> str:
        """The public part of the key."""
        return self.api_key.split("_")[1]

    async def revoke(self) -> None:
        """Have the key revoked."""
        path = f"/tenants/{self.tenant_id}/api-keys/{self.key_id}"
        assert (await self.freehold.manage("DELETE", path)).status_code == 204

    async def shut_out(self) -> None:
        """Wait until ingest and query refuse the key."""

        async def refused() -> bool:
            written = await self.post("/events", {})
            read = await self.get("/lag")
            return written.status_code == read.status_code == 401

        await eventually(refused, "the revoked key is refused")

    async def limited_to(self, *scopes: str) -> "Tenant":
        """The same tenant with a new key that has these scopes only."""
        answer = await self.freehold.manage(
            "POST", f"/tenants/{self.tenant_id}/api-keys", {"scopes": list(scopes)}
        )
        assert answer.status_code == 201, answer.text
        return self.bearing(answer.json()["api_key"])

    async def post(
        self,
        path: str,
        body: Any = None,
        *,
        key: str | None = NEW_KEY,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Ask ingest; `key` is the Idempotency-Key, None for no such header."""
        sent = dict(headers or {})
        if key is not None:
            sent["Idempotency-Key"] = uuid4().hex if key is NEW_KEY else key
        return await self.freehold.ask(
            "POST",
            f"{self.freehold.addresses.ingest}/v1{path}",
            bearer=self.api_key,
            headers=sent,
            body=body,
        )

    async def get(
        self,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> httpx.Response:
        """Ask query."""
        return await self.freehold.ask(
            "GET",
            f"{self.freehold.addresses.query}/v1{path}",
            bearer=self.api_key,
            headers=headers,
            params={**(params or {}), **more},
        )

    async def append(self, *, key: str = NEW_KEY, **changes: Any) -> Document:
        """Have one event appended, and give it as it was answered."""
        return created(await self.post("/events", event_body(**changes), key=key))

    async def append_batch(self, events: list[Document], *, key: str = NEW_KEY) -> Document:
        """Have events appended together, and give the answer."""
        return created(await self.post("/events/batch", {"events": events}, key=key))

    async def reverse(self, event_id: str, body: Any = None) -> Document:
        """Have an event reversed, and give the reversal."""
        return created(await self.post(f"/events/{event_id}/reversal", body))

    async def balances(self, account_id: str, **params: Any) -> dict[str, int]:
        """An account's balances, by currency."""
        document = found(await self.get(f"/accounts/{account_id}/balances", **params))
        return {
            balance["currency"]: balance["current_balance_minor"]
            for balance in document["balances"]
        }

    async def all_balances(self) -> dict[tuple[str, str], int]:
        """Every balance, by account and currency."""
        return {
            (balance["account_id"], balance["currency"]): balance["current_balance_minor"]
            for balance in await self.all_of("/balances")
        }

    async def all_of(self, path: str, *, limit: int = 1000, **params: Any) -> list[Document]:
        """Read a list to its end, page by page."""
        entries: list[Document] = []
        more: Document = {"limit": limit, **params}
        while True:
            page = found(await self.get(path, more))
            assert len(page["data"]) <= limit
            entries += page["data"]
            if page["next_cursor"] is None:
                return entries
            more["cursor"] = page["next_cursor"]

    async def lag(self) -> Document:
        """How far this tenant's state is behind."""
        return found(await self.get("/lag"))

    async def caught_up(self, *, within_s: float = PATIENCE_S) -> Document:
        """Wait until state and ledger agree."""

        async def level() -> Document | None:
            # After a fault was injected the service may not be back yet.
            try:
                answer = await self.get("/lag")
            except NoAnswerError:
                return None
            lag: Document = answer.json()
            return lag if answer.status_code == 200 and lag["events_behind"] == 0 else None

        return await eventually(level, f"{self.tenant_id} has caught up", within_s=within_s)


@asynccontextmanager
async def reaching(addresses: Addresses, *, crowded: bool = False) -> AsyncIterator[Freehold]:
    """Have a way to a running Freehold for a while.

    Args:
        addresses: Where it is.
        crowded: Whether hundreds ask at once: each on a connection of their own, as a busy client
            may take longer to use one again than the servers keep it.
    """
    async with AsyncExitStack() as stack:
        clients = {
            url: await stack.enter_async_context(
                AsyncFreehold(
                    query_url=url,
                    timeout_s=_TIMEOUT_S,
                    # A test says itself what it asks again.
                    retry_for_s=0,
                    open_transport=_crowded_transport if crowded else None,
                )
            )
            for url in services_at(addresses).values()
        }
        yield Freehold(addresses, clients)


def services_at(addresses: Addresses) -> dict[str, str]:
    """The address of each service that is known, by the service's name."""
    found = {
        "tenant-manager": addresses.tenant_manager,
        "ingest": addresses.ingest,
        "query": addresses.query,
        "projector": addresses.projector,
    }
    return {name: url for name, url in found.items() if url is not None}


def _crowded_transport(_: str) -> AsyncTransport:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return AsyncTransport(httpx.AsyncClient(limits=limits, trust_env=False))


def event_body(**changes: Any) -> Document:
    """An event that would be accepted, but for the changes."""
    return {
        "account_id": "cus_42",
        "event_type": "CHARGE",
        "amount_minor": 2000,
        "currency": "USD",
        **changes,
    }


def tenant_body(**changes: Any) -> Document:
    """A tenant who could be made, but for the changes."""
    return {
        "tenant_id": f"test-{secrets.token_hex(8)}",
        "name": "A tenant of the tests",
        "region": "local",
        "isolation": "database",
        **changes,
    }


def created(answer: httpx.Response) -> Document:
    """The document of a 201."""
    assert answer.status_code == 201, f"{answer.status_code}: {answer.text}"
    document: Document = answer.json()
    return document


def found(answer: httpx.Response) -> Document:
    """The document of a 200."""
    assert answer.status_code == 200, f"{answer.status_code}: {answer.text}"
    document: Document = answer.json()
    return document


def problem(answer: httpx.Response, slug: str) -> Document:
    """The document of a problem of this type, with the status and headers that go with it."""
    document: Document = answer.json()
    assert document.get("type") == f"/problems/{slug}", f"{answer.status_code}: {answer.text}"
    _check_problem(answer)
    return document


def pointers(answer: httpx.Response, slug: str = "validation-failed") -> list[str]:
    """Where a request broke rules, as its 422 answer lists it."""
    return [fault["pointer"] for fault in problem(answer, slug)["errors"]]


def check_problem_document(document: Document) -> None:
    """Hold a problem document to the types that are published; every 422 says what is wrong."""
    kind = document["type"]
    assert _SLUG.fullmatch(kind), document
    assert _STATUS_OF.get(kind) == document["status"], document
    assert document["title"], document
    assert document["detail"], document
    if document["status"] == 422:
        assert document["errors"], document
        for fault in document["errors"]:
            assert set(fault) == {"pointer", "detail"}, document
            assert _POINTER.fullmatch(fault["pointer"]), document
            assert fault["detail"], document
    for text in (document["detail"], *(fault["detail"] for fault in document.get("errors") or ())):
        assert not FRAMEWORK.search(text), document


def _check_as_documented(document: Document, named: Document, answer: httpx.Response) -> None:
    """Hold a problem to the types of its operation, and to a schema that names each member."""
    named = resolved(document, named)
    (content,) = named["content"].values()
    assert answer.json()["type"].rpartition("/")[2] in content["examples"], answer.text
    schema = resolved(document, content["schema"])
    validate(document, schema, answer.json())
    assert set(answer.json()) <= set(schema["properties"]), answer.text


def _check_problem(answer: httpx.Response) -> None:
    """Hold an error answer to RFC 9457 and to what is published."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    document: Document = answer.json()
    check_problem_document(document)
    assert document["status"] == answer.status_code, answer.text
    if answer.status_code in {429, 503}:
        assert int(answer.headers["retry-after"]) > 0, answer.text
    if answer.status_code == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer"), answer.text
