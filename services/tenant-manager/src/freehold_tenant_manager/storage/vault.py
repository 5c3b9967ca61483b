"""The vault: objects in the storage, compressed, then encrypted with their owner's data key.

Each tenant is an owner, and so is the catalog. An object is bound to its owner and its path, so it
does not open at another path.
"""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing
from hashlib import sha256

from freehold_tenant_manager.storage.compression import DecompressionError, compress, decompress
from freehold_tenant_manager.storage.data_keys import DataKeys
from freehold_tenant_manager.storage.encryption import DecryptionError, decrypt, encrypt
from freehold_tenant_manager.storage.objects import Storage, Stored


class DamagedError(Exception):
    """An object is not what was stored at its path for this owner."""


class Vault:
    """Stores objects and gives them back."""

    def __init__(self, storage: Storage, data_keys: DataKeys) -> None:
        self._storage = storage
        self._data_keys = data_keys

    async def put(self, tenant_id: str, path: str, pieces: AsyncIterable[bytes]) -> Stored:
        """Store an object, whole or not at all.

        An error of the pieces' source is raised here, and nothing is stored.

        Raises:
            StorageError: The storage does not take it.
            Unavailable: The tenant's data key cannot be had.
        """
        key = await self._data_keys.find_or_make(tenant_id)
        encrypted = encrypt(key, _context(tenant_id, path), compress(pieces))
        return await self._storage.put(path, encrypted)

    async def get(
        self, tenant_id: str, path: str, *, digest: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Give an object's content; it is whole if this ends without an error.

        A `digest`, the SHA-256 of the stored bytes in hex, is compared if it is known.

        Raises:
            NotStoredError: There is no such object.
            StorageError: The storage does not give it.
            DamagedError: It is not what was stored there.
            Unavailable: The tenant's data key cannot be had.
        """
        key = await self._data_keys.find(tenant_id)
        async with aclosing(self._storage.get(path)) as stored:
            checked = stored if digest is None else _checked(stored, digest)
            try:
                async for piece in decompress(decrypt(key, _context(tenant_id, path), checked)):
                    yield piece
            except (DecryptionError, DecompressionError) as error:
                raise DamagedError(f"{path}: {error}") from error

    async def delete(self, path: str) -> None:
        """Delete an object, if there is one.

        Raises:
            StorageError: The storage does not delete it.
        """
        await self._storage.delete(path)


def _context(tenant_id: str, path: str) -> bytes:
    return f"{tenant_id}\0{path}".encode()


async def _checked(pieces: AsyncIterable[bytes], digest: str) -> AsyncIterator[bytes]:
    found = sha256()
    async for piece in pieces:
        found.update(piece)
        yield piece
    if found.hexdigest() != digest:
        raise DecryptionError("the stored bytes have another checksum")
