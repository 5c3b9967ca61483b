"""The data of an earlier release as it was kept: its files, and how they come onto a server."""

import asyncio
import gzip
import json
import shutil
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg

from freehold.ledger.client import Connection
from freehold_local.credentials import Credentials, keep_credentials
from freehold_local.database import MANAGER, bootstrap
from freehold_local.folders import make_state
from freehold_local.stack import Stack
from support.documents import Document
from support.restoration import psql
from support.servers import another_postgres_server

RELEASES = Path(__file__).parent
CHECKSUMS = "SHA256SUMS"
_TIMEOUT_S = 30

# Whole secrets of servers that live for one test: nothing is protected by them.
CREDENTIALS = Credentials(
    **{name: f"test-only-{name}" for name in asdict(Credentials()) if name != "credential_keys"},
    credential_keys="test-only:" + b64encode(b"test-only, and of no real server").decode(),
)
KMS_KEYS = "test-only:" + b64encode(b"test-only: it wraps the data key").decode() + "\n"

SERVICES: Mapping[str, Mapping[str, str]] = {
    "tenant-manager": {
        "FREEHOLD_POOL_SIZE": "0",
        # Of a release long ago: its backups are to stay, and no others to be made.
        "FREEHOLD_BACKUP_KEEP_DAYS": "20000",
        "FREEHOLD_BACKUP_EVERY_S": "0",
        "FREEHOLD_BACKUP_VERIFY_EVERY_S": "0",
    }
}
"""How the services differ from those of any other stack, when the data is made and after."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The data of one release."""

    folder: Path

    @property
    def answers(self) -> Document:
        """What the release answered, and the keys and messages that it was asked with."""
        document: Document = json.loads((self.folder / "answers.json").read_text("utf-8"))
        return document

    @property
    def storage(self) -> Path:
        """The folder with backups and archives."""
        return self.folder / "storage"

    def checksums(self) -> str:
        """The SHA-256 of each file, as sha256sum writes and checks them."""
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        return "".join(
            f"{sha256(path.read_bytes()).hexdigest()}  {path.relative_to(self.folder)}\n"
            for path in files
            if path.name != CHECKSUMS
        )

    async def restore(self, name: str, url: str, folder: Path) -> None:
        """Run one of the SQL files on a database; `folder` is for the unpacked file."""
        file = folder / f"{name}.sql"
        file.write_bytes(gzip.decompress((self.folder / f"{name}.sql.gz").read_bytes()))
        await psql(url, file)


def kept_releases() -> list[Kept]:
    """Every release whose data is kept."""
    return [Kept(file.parent) for file in sorted(RELEASES.glob(f"*/{CHECKSUMS}"))]


def put_keys(state: Path) -> None:
    """Write the keys into the folder of a stack that is not made yet."""
    make_state(state)
    keep_credentials(state / "secrets.json", CREDENTIALS)
    (state / "kms.keys").write_text(KMS_KEYS)
    (state / "kms.keys").chmod(0o600)


def database_url(url: str, database: str) -> str:
    """The URL of another database of the same server."""
    return urlsplit(url)._replace(path=f"/{database}").geturl()


@asynccontextmanager
async def connected(url: str, database: str, schema: str = "ledger") -> AsyncIterator[Connection]:
    """Have a connection to a database for a while."""
    connection = await asyncpg.connect(
        database_url(url, database),
        server_settings={"search_path": schema},
        timeout=_TIMEOUT_S,
        command_timeout=_TIMEOUT_S,
    )
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


@dataclass(frozen=True, slots=True)
class Revived:
    """This release, running on a kept release's data."""

    kept: Kept
    stack: Stack
    server_url: str
    """As the server's superuser."""


@contextmanager
def revived(kept: Kept, folder: Path) -> Iterator[Revived]:
    """Run this release on a kept release's data for a while."""
    with another_postgres_server(folder) as url:
        asyncio.run(_restore_server(kept, url, folder))
        state = folder / "stack"
        put_keys(state)
        shutil.copytree(kept.storage, state / "storage")
        login = f"{MANAGER}:{quote(CREDENTIALS.tenant_manager_password, safe='')}"
        address = urlsplit(url).netloc.rpartition("@")[2]
        own = urlsplit(url)._replace(netloc=f"{login}@{address}").geturl()
        stack = Stack(
            state, {"FREEHOLD_POSTGRES_URL": own}, ports="free", service_environment=SERVICES
        )
        try:
            stack.up()
            yield Revived(kept, stack, url)
        finally:
            if (state / "logs").is_dir():
                shutil.copytree(state / "logs", folder / "logs")
            stack.discard()


async def _restore_server(kept: Kept, url: str, folder: Path) -> None:
    """Put a kept release's roles and databases onto an empty server."""
    await asyncio.to_thread(bootstrap, url, CREDENTIALS.tenant_manager_password)
    await kept.restore("roles", url, folder)
    async with connected(url, "postgres") as superuser:
        roles = await superuser.fetch(
            "SELECT rolname FROM pg_roles WHERE rolname ~ '^(fh_|freehold_)' AND rolname <> $1",
            MANAGER,
        )
        # From Postgres 16 on, CREATEROLE is a right to the roles that one has made.
        for (role,) in roles:
            await superuser.execute(f"GRANT {role} TO {MANAGER} WITH ADMIN OPTION")
    for name in kept.answers["databases"]:
        await kept.restore(name, url, folder)


def includes(now: Any, then: Any) -> bool:
    """Whether an answer has all of an earlier one: a later release may add members."""
    if isinstance(then, dict):
        return isinstance(now, dict) and all(
            name in now and includes(now[name], then[name]) for name in then
        )
    if isinstance(then, list):
        return (
            isinstance(now, list)
            and len(now) == len(then)
            and all(includes(*pair) for pair in zip(now, then, strict=True))
        )
    return bool(now == then)
