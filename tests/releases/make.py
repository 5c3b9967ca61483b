"""Makes the data of the release that this checkout is, once: see README.md.

Two tenants have every kind of fact (facts.py). They are dumped when everything is archived and the
services have ended.
"""

import asyncio
import gzip
import json
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import aio_pika

from freehold.messaging.topology import LEDGER_EXCHANGE, appended_key, projected_key
from freehold.release import this_release
from freehold_local.database import MANAGER
from freehold_local.postgres import PrivatePostgres
from freehold_local.stack import Stack
from releases.facts import Author, read, write
from releases.kept import CHECKSUMS, RELEASES, SERVICES, Kept, connected, database_url, put_keys
from support.answers import created, found
from support.clients import Freehold, Tenant, event_body, reaching
from support.documents import Document
from support.machine import CATALOG_DATABASE
from support.restoration import run
from support.stacks import addresses_of, private_stack
from support.upstream import accepted, upstream_of
from support.waiting import eventually

_BOOTSTRAPPED = ("postgres", MANAGER, "freehold_service")


async def make(stack: Stack, release: Path) -> None:
    """Have two tenants' data made, and write it down."""
    server_url = PrivatePostgres(stack.state / "postgres").url
    document: Document = {"comment": "All keys here are test-only.", "tenants": {}}
    async with reaching(addresses_of(stack)) as freehold:
        async with await aio_pika.connect(stack.env()["FREEHOLD_AMQP_URL"], timeout=10) as link:
            channel = await link.channel()
            queue = await channel.declare_queue(exclusive=True, timeout=10)
            for key in (appended_key("acme"), projected_key("acme")):
                await queue.bind(LEDGER_EXCHANGE, key, timeout=10)
            for tenant_id in ("acme", "globex"):
                document["tenants"][tenant_id] = await _make_tenant(freehold, stack, tenant_id)
            document["doorbells"] = []
            with suppress(aio_pika.exceptions.QueueEmpty):
                while True:
                    message = await queue.get(timeout=10)
                    document["doorbells"].append(json.loads(message.body))
                    await message.ack()
            document["tenants"]["globex"] = await _back_up(freehold, document, "globex")
        await _export(freehold, document["tenants"]["acme"]["api_key"], release)
        # Everything is archived before the services end.
        for tenant_id, told in document["tenants"].items():
            await _archived(freehold, tenant_id, told["head"]["seq"])
    for service in ("ingest", "projector", "query", "tenant-manager"):
        await asyncio.to_thread(stack.stop, service)
    async with connected(server_url, CATALOG_DATABASE, "catalog") as catalog:
        rows = await catalog.fetch("SELECT tenant_id, database_name FROM tenants ORDER BY 1")
    document["databases"] = {
        "catalog": CATALOG_DATABASE,
        **{row["tenant_id"]: row["database_name"] for row in rows},
    }
    await _dump(server_url, document["databases"], release)
    shutil.copytree(stack.state / "storage", release / "storage")
    (release / "answers.json").write_text(
        json.dumps(document, indent=0, ensure_ascii=False) + "\n", "utf-8"
    )
    (release / CHECKSUMS).write_text(Kept(release).checksums())


async def _make_tenant(freehold: Freehold, stack: Stack, tenant_id: str) -> Document:
    body = {"tenant_id": tenant_id, "name": "N", "region": "local", "isolation": "database"}
    api_key = created(await freehold.manage("POST", "/tenants", body))["api_key"]
    author = Author(Tenant(freehold, tenant_id, api_key))
    single = await write(author)
    async with upstream_of(stack.env()["FREEHOLD_AMQP_URL"]) as upstream:
        message = {"message_id": "inbound-1", "body": event_body(external_id="inbound")}
        answer = await upstream.ask(author.tenant, message["body"], message_id="inbound-1")
        accepted(answer)
    await author.tenant.caught_up()
    shown = found(await freehold.manage("GET", f"/tenants/{tenant_id}"))
    return {
        "api_key": api_key,
        "requests": author.requests,
        "inbound": message | {"answer": answer.content.decode()},
        "answers": await read(author.tenant, single),
        "head": shown["head"],
    }


async def _back_up(freehold: Freehold, document: Document, tenant_id: str) -> Document:
    """Back a tenant up, and have one more event, which only the archive has."""
    api_key = document["tenants"][tenant_id]["api_key"]
    tenant = Tenant(freehold, tenant_id, api_key)
    path = f"/tenants/{tenant_id}"
    backup = await freehold.result_of(await freehold.operator.create_backup(tenant_id))
    await tenant.append(account_id="cus_late")
    await tenant.caught_up()
    head = found(await freehold.manage("GET", path))["head"]
    return {"api_key": api_key, "backup": backup, "head": head}


async def _export(freehold: Freehold, api_key: str, release: Path) -> None:
    url = f"{freehold.addresses.tenant_manager}/v1/export"
    answer = await freehold.ask("GET", url, bearer=api_key)
    assert answer.status_code == 200
    _keep(release / "export.sql.gz", answer.content)


async def _archived(freehold: Freehold, tenant_id: str, seq: int) -> None:
    async def whole() -> bool:
        shown = found(await freehold.manage("GET", f"/tenants/{tenant_id}"))
        return bool(shown["archive"]["seq"] >= seq)

    await eventually(whole, f"{tenant_id} is archived")


async def _dump(server_url: str, databases: dict[str, str], release: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "dumped.sql"
        for name, database in databases.items():
            url = database_url(server_url, database)
            if name != "catalog":
                async with connected(server_url, database) as ledger:
                    await ledger.execute(
                        "UPDATE idempotency_keys SET expires_at = '2999-01-01T00:00:00Z'"
                    )
            await _run(url, "pg_dump", "--create", "--format=plain", f"--file={file}")
            _keep(release / f"{name}.sql.gz", _portable(file.read_text("utf-8")))
        await _run(server_url, "pg_dumpall", "--roles-only", f"--file={file}")
        _keep(release / "roles.sql.gz", _portable(_own_roles(file.read_text("utf-8"))))


def _own_roles(script: str) -> str:
    """Leave out roles that each server has, and who granted a role: that is the superuser there."""
    of_each_server = tuple(
        f"{verb} ROLE {role}{end}"
        for role in _BOOTSTRAPPED
        for verb, end in (("CREATE", ";"), ("ALTER", " "))
    )
    lines = [line for line in script.splitlines() if not line.startswith(of_each_server)]
    return "".join(re.sub(r" GRANTED BY \w+;$", ";", line) + "\n" for line in lines)


def _portable(script: str) -> bytes:
    """Take away the commands that psql knows only from some patch release on."""
    lines = script.splitlines(keepends=True)
    return "".join(
        line for line in lines if not line.startswith(("\\restrict ", "\\unrestrict "))
    ).encode()


async def _run(url: str, program: str, *arguments: str) -> None:
    status, said = await run(url, program, *arguments)
    assert status == 0, said


def _keep(file: Path, content: bytes) -> None:
    file.write_bytes(gzip.compress(content, 9, mtime=0))


def main() -> None:
    """Make the folder of this release.

    Raises:
        FileExistsError: It is there already. What a release left is never made again.
    """
    release = RELEASES / this_release().version
    release.mkdir()
    with tempfile.TemporaryDirectory() as folder:
        put_keys(Path(folder) / "stack")
        with private_stack(Path(folder), SERVICES, durable=False) as stack:
            asyncio.run(make(stack, release))


if __name__ == "__main__":
    main()
