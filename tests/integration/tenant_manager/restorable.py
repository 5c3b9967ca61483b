"""A tenant with a ledger to archive, back up and restore."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx

from freehold.ledger import client, rules
from freehold.ledger.append import AppendRequest, Outcome
from freehold.ledger.client import Connection
from freehold.tenants.homes import Home
from freehold_tenant_manager.archive.archiver import Archiver
from freehold_tenant_manager.http.components import Components
from integration.tenant_manager.installation import Installation, connected, make_tenant
from integration.tenant_manager.ledgers import home_of
from support.builders import append, append_request, new_event
from support.operations import request_ended, result_of

T = TypeVar("T")


@dataclass(frozen=True)
class RestorableTenant:
    """A tenant, seen through one tenant-manager."""

    parts: Components
    manager: httpx.AsyncClient
    installation: Installation
    tenant_id: str

    @classmethod
    async def make(
        cls, parts: Components, manager: httpx.AsyncClient, installation: Installation
    ) -> "RestorableTenant":
        return cls(parts, manager, installation, await make_tenant(manager))

    async def neighbour(self) -> "RestorableTenant":
        """Make another tenant."""
        return await self.make(self.parts, self.manager, self.installation)

    @property
    def path(self) -> str:
        return f"/v1/tenants/{self.tenant_id}"

    def find(self, part: type[T]) -> T:
        return self.parts.find(part)

    async def home(self, service: str = "ingest") -> Home:
        return await home_of(self.parts, self.tenant_id, service)

    @asynccontextmanager
    async def inside(self, service: str = "ingest") -> AsyncIterator[Connection]:
        """Connect to the tenant's current database."""
        async with connected(await self.home(service)) as connection:
            yield connection

    async def grow(self, *requests: AppendRequest | int) -> datetime:
        """Append requests, or events of these amounts; give an instant after all of them."""
        wanted = [of(one) if isinstance(one, int) else one for one in requests or (1,)]
        async with self.inside() as connection:
            await append(connection, wanted)
            instant: datetime = await connection.fetchval("SELECT clock_timestamp()")
        await asyncio.sleep(0.002)
        return instant

    async def project(self) -> int:
        async with self.inside("projector") as connection:
            return (await client.project(connection, 100)).last_seq

    async def limit(self, limit: int | None) -> None:
        """Limit the balance of the account cus_9."""
        async with self.inside() as connection:
            await rules.limit_account(connection, "cus_9", "USD", limit)

    async def archive(self) -> None:
        await self.find(Archiver).archive(self.tenant_id)

    async def grow_and_archive(self, *requests: AppendRequest | int) -> datetime:
        """Append, and archive that in a segment of its own; give an instant between the two."""
        instant = await self.grow(*requests)
        await self.archive()
        return instant

    async def limit_and_archive(self, limit: int | None) -> None:
        """Change a rule, and archive that in a segment of its own."""
        await self.limit(limit)
        await self.archive()
        await asyncio.sleep(0.002)

    async def is_limited(self) -> bool:
        """Say whether the account cus_9 may not be taken below zero."""
        async with self.inside() as connection:
            (answer,) = await append(connection, [of(-1, account_id="cus_9")])
        return answer.outcome is Outcome.INSUFFICIENT_FUNDS

    def segments(self) -> list[Path]:
        """List the first epoch's segments."""
        pattern = f"*/storage/tenants/{self.tenant_id}/1/segments/*"
        return sorted(self.installation.folder.glob(pattern))

    async def back_up(self) -> str:
        shown = await request_ended(self.manager, await self.manager.post(f"{self.path}/backups"))
        return str(shown["result"]["backup_id"])

    async def ask_to_restore(self, **wanted: Any) -> httpx.Response:
        shown = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in wanted.items()}
        return await self.manager.post(f"{self.path}/restores", json=shown)

    async def operated(self, **wanted: Any) -> dict[str, Any]:
        """Restore, and give the operation that has ended."""
        return await request_ended(self.manager, await self.ask_to_restore(**wanted))

    async def restored(self, **wanted: Any) -> dict[str, Any]:
        """Restore, and give the result."""
        return result_of(await self.operated(**wanted))

    async def amounts(self) -> list[int]:
        """List the events' amounts, and check the whole ledger."""
        async with self.inside("auditor") as connection:
            rows = await connection.fetch("SELECT amount_minor FROM ledger_events ORDER BY seq")
            proof = await client.verify(connection)
            assert proof.ok, proof.reason
            assert await client.reconcile(connection) == []
            lag = await client.projection_lag(connection)
            assert lag.events_behind == 0
            assert lag.epoch == (await self.home("auditor")).epoch
        return [row["amount_minor"] for row in rows]

    async def retired(self) -> list[dict[str, Any]]:
        """List the retired databases."""
        answer = await self.manager.get(f"{self.path}/former-databases")
        assert answer.status_code == 200
        data: list[dict[str, Any]] = answer.json()["data"]
        return data

    async def drop_retired(self, name: str) -> httpx.Response:
        return await self.manager.delete(f"{self.path}/former-databases/{name}?confirm={name}")

    async def shown(self) -> dict[str, Any]:
        shown: dict[str, Any] = (await self.manager.get(self.path)).json()
        return shown


def of(amount: int, **more: Any) -> AppendRequest:
    """Ask for one event of this amount."""
    return append_request(new_event(amount_minor=amount, **more))
