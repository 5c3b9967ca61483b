"""Freehold behind nginx, with the configuration of the guide on operating as it stands there."""

import asyncio
import json
import os
import shutil
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from freehold_local.ports import LOOPBACK, free_port
from support.answers import created, problem
from support.clients import Tenant, event_body
from support.guides import guide
from support.stacks import Addresses
from support.tls import Authority
from support.waiting import PATIENCE_S, eventually

# Debian has it where a user's PATH does not lead.
NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
MIB = 2**20
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")

pytestmark = pytest.mark.skipif(NGINX is None, reason="this machine has no nginx")


def configuration(folder: Path, port: int, addresses: Addresses) -> str:
    """Give the guide's configuration, with the addresses and files of this test."""
    names = {
        "127.0.0.1:8081": addresses.ingest.removeprefix("http://"),
        "127.0.0.1:8082": addresses.query.removeprefix("http://"),
        "listen 443 ssl": f"listen {LOOPBACK}:{port} ssl",
        "/etc/ssl/freehold": str(folder),
    }
    _, _, rest = guide("operating", names).partition("```nginx\n")
    kept = "".join(f"{what}_temp_path {folder}/{what};" for what in TEMPORARY)
    return (
        f"daemon off; user root; pid {folder}/pid; error_log {folder}/errors; events {{}}"
        f" http {{ access_log {folder}/requests; {kept} {rest.partition('```')[0]} }}"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nginx")


@pytest.fixture(scope="module")
async def proxy(addresses: Addresses, folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of the proxy; it names the service by the header `Host`."""
    authority = Authority()
    authority.write_server(folder, group=-1)
    port = free_port()
    (folder / "nginx.conf").write_text(configuration(folder, port, addresses))
    assert NGINX is not None
    server = await asyncio.create_subprocess_exec(
        NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf")
    )
    trust = ssl.create_default_context(cafile=str(folder / "authority.pem"))
    try:
        async with httpx.AsyncClient(
            base_url=f"https://{LOOPBACK}:{port}", verify=trust, timeout=PATIENCE_S, trust_env=False
        ) as client:
            await eventually(lambda: _answers(client), "nginx answers")
            yield client
    finally:
        if server.returncode is None:
            server.terminate()
        await server.wait()


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/healthz", headers={"Host": "query.example.com"})).is_success
    except httpx.TransportError:
        return False


def ingest(tenant: Tenant, **more: str) -> dict[str, str]:
    return {"Host": "ingest.example.com", "Authorization": f"Bearer {tenant.api_key}", **more}


async def test_a_change_comes_through_the_stream_at_once(
    proxy: httpx.AsyncClient, tenant: Tenant
) -> None:
    headers = ingest(tenant) | {"Host": "query.example.com"}
    async with proxy.stream("GET", "/v1/stream", headers=headers) as stream:
        lines = stream.aiter_lines()
        key = ingest(tenant, **{"Idempotency-Key": "through-nginx"})
        event = created(await proxy.post("/v1/events", json=event_body(), headers=key))
        async with asyncio.timeout(PATIENCE_S):
            async for line in lines:
                if line.startswith("data: "):
                    break
        assert json.loads(line.removeprefix("data: "))["last_seq"] == event["seq"]


async def test_large_bodies_are_the_service_s_to_judge(
    proxy: httpx.AsyncClient, tenant: Tenant
) -> None:
    spaces = " " * (60 * 1024)
    large = "".join(
        json.dumps(event_body(external_id=f"large-{n}")).replace("{", "{" + spaces, 1) + "\n"
        for n in range(320)
    ).encode()
    assert len(large) > 18 * MIB
    importing = ingest(tenant, **{"Content-Type": "application/x-ndjson"})
    answer = await proxy.post("/v1/events/import", content=large, headers=importing)
    result = json.loads(answer.text.splitlines()[-1])
    assert (result["done"], result["accepted"]) == (True, 320), result.get("error")
    batch = ingest(tenant, **{"Idempotency-Key": "large", "Content-Type": "application/json"})
    content = b'{"events":[' + b" " * (16 * MIB) + b"]}"
    problem(await proxy.post("/v1/events/batch", content=content, headers=batch), "body-too-large")


async def test_a_read_token_is_in_no_log(proxy: httpx.AsyncClient, folder: Path) -> None:
    headers = {"Host": "query.example.com"}
    streaming = await proxy.get("/v1/stream?token=a-secret", headers=headers)
    assert streaming.status_code == 401
    await proxy.get("/v1/lag?afterwards", headers=headers)

    async def is_logged() -> bool:
        return "afterwards" in (folder / "requests").read_text()

    await eventually(is_logged, "the request is logged")
    assert "a-secret" not in (folder / "requests").read_text()
