"""Freehold as its users reach it: with freehold-client.

A tenant's methods set the scene and are typed; `post`, `put` and `get` give the whole answer.
"""

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import msgspec

from freehold_client import AsyncFreehold, NoAnswerError, Problem
from freehold_client.generated.models import Lag, LedgerEvent, Operation
from freehold_client.transports import AsyncTransport
from support.answers import Contract
from support.documents import Document
from support.stacks import Addresses
from support.waiting import PATIENCE_S, eventually

Scope = Literal["ingest", "read", "audit", "export"]

NEW_KEY = "a new key for each request"

_TIMEOUT_S = 60


class Freehold:
    """A running Freehold.

    Args:
        addresses: Where it is.
        http: Sends all requests.
    """

    def __init__(self, addresses: Addresses, http: httpx.AsyncClient) -> None:
        Contract(http)
        self.addresses = addresses
        self.http = http
        """Sends all requests; each answer is held to the contract."""
        self.operator = self.client(operator_token=addresses.operator_token)
        self._insistent_operator = self.client(
            operator_token=addresses.operator_token, retry_for_s=PATIENCE_S
        )

    def client(
        self, transport: AsyncTransport | None = None, *, retry_for_s: float = 0, **settings: str
    ) -> AsyncFreehold:
        """Make a client that tries once, so that a test sees each refusal.

        Args:
            transport: Sends its requests in a way of its own.
            retry_for_s: For how long it tries again.
            settings: Credentials, and addresses that are not this Freehold's.
        """
        addresses = {
            "ingest_url": self.addresses.ingest,
            "query_url": self.addresses.query,
            "tenant_manager_url": self.addresses.tenant_manager,
        }
        return AsyncFreehold(
            **{**addresses, **settings},
            timeout_s=_TIMEOUT_S,
            retry_for_s=retry_for_s,
            open_transport=lambda _: transport or AsyncTransport(self.http),
        )

    @property
    def services(self) -> dict[str, str]:
        """The address of each service that is known, by the service's name."""
        at = self.addresses
        addresses = {
            "tenant-manager": at.tenant_manager,
            "ingest": at.ingest,
            "query": at.query,
            "projector": at.projector,
        }
        return {name: url for name, url in addresses.items() if url is not None}

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
        """Send one request to any address, with any credential.

        Args:
            method: The HTTP method.
            url: The whole URL.
            bearer: What is sent as the credential, if anything.
            headers: Headers besides.
            params: The query string.
            body: Bytes are sent as they are; anything else is written as JSON.
        """
        sent = {} if bearer is None else {"Authorization": f"Bearer {bearer}"}
        written = _written(body, {**sent, **(headers or {})})
        return await self.send(method, url, params=params, **written)

    async def send(self, method: str, url: str, **request: Any) -> httpx.Response:
        """Send one request to any address, as `AsyncFreehold.request` does."""
        scheme, host, *_ = urlsplit(url)
        base = f"{scheme}://{host}"
        # This client knows a single address, and so takes every request as one for query.
        return await self.client(query_url=base).request(
            method, url.removeprefix(base), service="query", **request
        )

    async def manage(
        self, method: str, path: str, body: Any = None, *, params: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        """Ask tenant-manager, as the operator."""
        return await self.operator.request(
            method, f"/v1{path}", service="tenant_manager", params=params, **_written(body)
        )

    async def end_of(
        self, operation: Operation | str, *, within_s: float = PATIENCE_S
    ) -> Operation:
        """Wait until an operation has succeeded, and give it. tenant-manager may be away."""
        return await self._insistent_operator.wait_for_operation(operation, within_s=within_s)

    async def result_of(
        self, operation: Operation | str, *, within_s: float = PATIENCE_S
    ) -> Document:
        """Wait until an operation has succeeded, and give its result."""
        result = (await self.end_of(operation, within_s=within_s)).result
        assert result is not None
        return result

    async def new_tenant(self) -> "Tenant":
        """Have a tenant made, with an empty ledger."""
        made = await self.operator.create_tenant(**tenant_body())
        assert made.api_key is not None
        return Tenant(self, made.tenant.tenant_id, made.api_key)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant, who asks with one of their keys."""

    freehold: Freehold
    tenant_id: str
    api_key: str

    @property
    def client(self) -> AsyncFreehold:
        """The tenant's client, which tries once."""
        return self.freehold.client(api_key=self.api_key)

    def bearing(self, api_key: str) -> "Tenant":
        """The same tenant with another key."""
        return replace(self, api_key=api_key)

    @property
    def key_id(self) -> str:
        """The public part of the key."""
        return self.api_key.split("_")[1]

    async def revoke(self) -> None:
        """Have the key revoked."""
        await self.freehold.operator.revoke_api_key(self.tenant_id, self.key_id)

    async def shut_out(self) -> None:
        """Wait until ingest and query refuse the key."""

        async def refused() -> bool:
            written = await self.post("/events", {})
            read = await self.get("/lag")
            return written.status_code == read.status_code == 401

        await eventually(refused, "the revoked key is refused")

    async def limited_to(self, *scopes: Scope) -> "Tenant":
        """The same tenant with a new key that has these scopes only."""
        made = await self.freehold.operator.create_api_key(self.tenant_id, scopes=scopes)
        return self.bearing(made.api_key)

    async def post(
        self,
        path: str,
        body: Any = None,
        *,
        key: str | None = NEW_KEY,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Ask ingest; `key` is the Idempotency-Key, None for no such header."""
        return await self.ask_ingest(
            "POST", path, body, key=uuid4().hex if key is NEW_KEY else key, headers=headers
        )

    async def ask_ingest(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Ask ingest for anything; `key` is the Idempotency-Key."""
        return await self.client.request(
            method,
            f"/v1{path}",
            service="ingest",
            params=params,
            idempotency_key=key,
            **_written(body, headers),
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
        return await self.client.request(
            "GET", f"/v1{path}", service="query", params={**(params or {}), **more}, headers=headers
        )

    async def append(self, *, key: str | None = None, **changes: Any) -> LedgerEvent:
        """Have one event appended, and give it."""
        return await self.client.append_event(**event_body(**changes), idempotency_key=key)

    async def append_batch(
        self, events: Sequence[Any], *, key: str | None = None
    ) -> list[LedgerEvent]:
        """Have events appended together, and give them."""
        return (await self.client.append_batch(events=events, idempotency_key=key)).events or []

    async def reverse(self, event_id: str, **more: Any) -> LedgerEvent:
        """Have an event reversed, and give the reversal."""
        return await self.client.reverse_event(event_id, **more)

    async def balances(self, account_id: str, **params: Any) -> dict[str, int]:
        """An account's balances, by currency."""
        found = await self.client.get_balances(account_id, **params)
        return {each.currency: each.current_balance_minor for each in found.balances}

    async def all_balances(self) -> dict[tuple[str, str], int]:
        """Every balance, by account and currency."""
        return {
            (each.account_id, each.currency): each.current_balance_minor
            async for each in self.client.list_balances(page_size=1000)
        }

    async def all_events(self, **params: Any) -> list[LedgerEvent]:
        """Every event, of all pages."""
        return [each async for each in self.client.list_events(page_size=1000, **params)]

    async def lag(self) -> Lag:
        """How far this tenant's state is behind."""
        return await self.client.get_lag()

    async def caught_up(self, *, within_s: float = PATIENCE_S) -> Lag:
        """Wait until state and ledger agree."""

        async def level() -> Lag | None:
            # After a fault was injected the service may not be back yet.
            try:
                lag = await self.lag()
            except (NoAnswerError, Problem):
                return None
            return lag if lag.events_behind == 0 else None

        return await eventually(level, f"{self.tenant_id} has caught up", within_s=within_s)


def _written(body: Any, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What is sent of a body: bytes as they are; anything else is written as JSON."""
    if body is None:
        return {"headers": headers or {}}
    return {
        "content" if isinstance(body, bytes) else "json": body,
        "headers": {"Content-Type": "application/json", **(headers or {})},
    }


@asynccontextmanager
async def reaching(addresses: Addresses, *, crowded: bool = False) -> AsyncIterator[Freehold]:
    """Have a way to a running Freehold for a while.

    Args:
        addresses: Where it is.
        crowded: Whether hundreds ask at once: each on a connection of their own, as a busy client
            may take longer to use one again than the servers keep it.
    """
    limits = (
        httpx.Limits(max_connections=None, max_keepalive_connections=0)
        if crowded
        # Shorter than the servers', so that no request goes out on a connection being closed.
        else httpx.Limits(max_connections=64, keepalive_expiry=2)
    )
    async with httpx.AsyncClient(
        timeout=_TIMEOUT_S,
        limits=limits,
        # The machine's proxy settings are for the world outside.
        trust_env=False,
    ) as http:
        yield Freehold(addresses, http)


def event_body(**changes: Any) -> Document:
    """An event that would be accepted, but for the changes."""
    return {
        "account_id": "cus_42",
        "event_type": "CHARGE",
        "amount_minor": 2000,
        "currency": "USD",
        **changes,
    }


def event_of(document: Document) -> LedgerEvent:
    """An event that was answered, as the client gives it."""
    return msgspec.convert(document, LedgerEvent, strict=False)


def tenant_body(**changes: Any) -> Document:
    """A tenant who could be made, but for the changes."""
    return {
        "tenant_id": f"test-{secrets.token_hex(8)}",
        "name": "A tenant of the tests",
        "region": "local",
        "isolation": "database",
        **changes,
    }
