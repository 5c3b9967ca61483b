"""Operators for tests, and what the audit log says of them."""

import json
import secrets
from hashlib import sha256
from typing import Any

import httpx

from support.answers import created


async def make_operator(manager: httpx.AsyncClient, role: str, **more: Any) -> dict[str, Any]:
    """Make an operator nobody made before; give the answer, which has the token."""
    wanted = {"name": f"op-{secrets.token_hex(6)}", "role": role, **more}
    return created(await manager.post("/v1/operators", json=wanted))


def bearing(token: str) -> dict[str, str]:
    """Give the headers of a request with a token."""
    return {"Authorization": f"Bearer {token}"}


async def acts(manager: httpx.AsyncClient, **filters: Any) -> list[dict[str, Any]]:
    """List entries of the audit log, the oldest first."""
    answer = await manager.get("/v1/operator-acts", params={"limit": 1000, **filters})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found[::-1]


def lines_of(log: str) -> list[str]:
    """Give the lines of an exported log: they end with a newline, and may contain other ends."""
    return log.removesuffix("\n").split("\n")


def first_fault(lines: list[str]) -> int | None:
    """Check an exported log by what the guide says of it; give the seq of the first fault.

    Shares no code with the service.
    """
    before = "00" * 32
    for seq, line in enumerate(lines, 1):
        entry = json.loads(line)
        previous, own = entry.pop("previous_hash"), entry.pop("hash")
        content = _as_postgres_writes(entry).encode()
        if (
            entry["seq"] != seq
            or previous != before
            or sha256(bytes.fromhex(previous) + content).hexdigest() != own
        ):
            return seq
        before = own
    return None


def _as_postgres_writes(value: Any) -> str:
    """Write JSON as jsonb is written: members in order of their names' lengths, then bytes."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: (len(name.encode()), name.encode()))
        members = (f"{json.dumps(n)}: {_as_postgres_writes(value[n])}" for n in names)
        return "{" + ", ".join(members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_as_postgres_writes, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
