"""Key management: wraps the data keys with a key that it never gives out.

A wrapped data key is bound to its owner, so it does not open for another.
"""

import asyncio
import base64
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from freehold.security.key_ring import KeyRing, Sealed, SealingError

_TIMEOUT_S = 5
_ATTEMPTS_MAX = 3
_ALL_ATTEMPTS_S = 20
_KEY_BYTES = 32
# Errors that a retry cannot mend (AWS KMS API reference, Decrypt).
_NEVER = {"InvalidCiphertextException", "IncorrectKeyException", "NotFoundException"}

Result = TypeVar("Result")


class KeyManagementError(Exception):
    """A data key cannot be wrapped or unwrapped; the message names no secret."""


class KeyUnknownError(KeyManagementError):
    """It never will be: another key wrapped this, or it was changed."""


class Wrapped(NamedTuple):
    """A wrapped data key, and the id of the key that unwraps it."""

    key_id: str
    box: bytes


class KeyManagement(Protocol):
    """Wraps and unwraps data keys. Every call has a deadline."""

    async def wrap(self, data_key: bytes, tenant_id: str) -> Wrapped:
        """Wrap a tenant's data key under the newest wrapping key.

        Raises:
            KeyManagementError: It cannot be done now.
        """
        ...

    async def unwrap(self, wrapped: Wrapped, tenant_id: str) -> bytes:
        """Unwrap a tenant's data key.

        Raises:
            KeyManagementError: It cannot be done now, the wrapping key is not known here, or this
                was not wrapped for this tenant.
        """
        ...

    async def is_current(self, key_id: str) -> bool:
        """Say whether this key is the one that `wrap` uses now.

        Raises:
            KeyManagementError: It cannot be found out now.
        """
        ...


class LocalKeyFile:
    """Wrapping keys in a file that only its owner can read: `id:base64 of 32 bytes`, one a line.

    The first wraps and all unwrap. The file is read each time, so a new first key is used at once.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    async def wrap(self, data_key: bytes, tenant_id: str) -> Wrapped:
        """Wrap a tenant's data key."""
        text = base64.b64encode(data_key).decode()
        return Wrapped(*(await self._read()).seal(text, _bound_to(tenant_id)))

    async def unwrap(self, wrapped: Wrapped, tenant_id: str) -> bytes:
        """Unwrap a tenant's data key."""
        key_ring = await self._read()
        try:
            return base64.b64decode(key_ring.open(Sealed(*wrapped), _bound_to(tenant_id)))
        except SealingError as error:
            raise KeyUnknownError(f"{self._file}: {error}") from None

    async def is_current(self, key_id: str) -> bool:
        """Say whether this is the first key of the file."""
        return key_id == (await self._read()).sealing_key_id

    async def make(self) -> bool:
        """Make the file with a random key, unless it exists; give whether it was made.

        Raises:
            KeyManagementError: It cannot be made.
        """
        try:
            return await asyncio.to_thread(_make_key_file, self._file)
        except OSError as error:
            raise KeyManagementError(f"{self._file} cannot be made: {error.strerror}") from None

    async def _read(self) -> KeyRing:
        try:
            text = await asyncio.to_thread(self._file.read_text, encoding="ascii")
            return KeyRing(",".join(line for line in text.splitlines() if line.strip()))
        except OSError as error:
            raise KeyManagementError(f"{self._file} cannot be read: {error.strerror}") from None
        except ValueError:
            raise KeyManagementError(
                f"{self._file} is to hold lines of id:base64 of 32 bytes"
            ) from None


class AwsKms:
    """A symmetric key of AWS KMS, which never leaves it. Needs the extra `aws`."""

    def __init__(self, key: str, *, region: str | None = None, endpoint: str | None = None) -> None:
        """Set up; `endpoint` is another server that speaks the KMS protocol.

        Credentials come from where all of Amazon's tools look for them.

        Raises:
            ValueError: boto3 is not installed.
        """
        try:
            import boto3  # noqa: PLC0415 (an extra, which most do not need)
            from botocore.config import Config  # noqa: PLC0415
            from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415
        except ImportError:
            raise ValueError(
                "AWS KMS needs boto3: pip install freehold-tenant-manager[aws]"
            ) from None
        self._key = key
        self._errors: tuple[type[Exception], ...] = (BotoCoreError, ClientError)
        config = Config(
            connect_timeout=_TIMEOUT_S,
            read_timeout=_TIMEOUT_S,
            retries={"total_max_attempts": _ATTEMPTS_MAX, "mode": "standard"},
        )
        make: Callable[..., Any] = partial(boto3.client, "kms", config=config)
        self._make_client = partial(make, region_name=region, endpoint_url=endpoint)
        self._client: Any = None

    async def wrap(self, data_key: bytes, tenant_id: str) -> Wrapped:
        """Wrap a tenant's data key."""

        def encrypt(client: Any) -> Wrapped:
            answer = client.encrypt(
                KeyId=self._key, Plaintext=data_key, EncryptionContext=_aws_context(tenant_id)
            )
            return Wrapped(str(answer["KeyId"]), bytes(answer["CiphertextBlob"]))

        return await self._call(encrypt)

    async def unwrap(self, wrapped: Wrapped, tenant_id: str) -> bytes:
        """Unwrap a tenant's data key."""

        def decrypt(client: Any) -> bytes:
            answer = client.decrypt(
                KeyId=wrapped.key_id,
                CiphertextBlob=wrapped.box,
                EncryptionContext=_aws_context(tenant_id),
            )
            return bytes(answer["Plaintext"])

        return await self._call(decrypt)

    async def is_current(self, key_id: str) -> bool:
        """Say whether the alias or id stands for this key."""
        arn = await self._call(
            lambda client: str(client.describe_key(KeyId=self._key)["KeyMetadata"]["Arn"])
        )
        return key_id == arn

    async def _call(self, call: Callable[[Any], Result]) -> Result:
        try:
            # boto3's own deadlines do not bound an answer that comes byte by byte.
            async with asyncio.timeout(_ALL_ATTEMPTS_S):
                if self._client is None:
                    self._client = await asyncio.to_thread(self._make_client)
                return await asyncio.to_thread(call, self._client)
        except TimeoutError:
            raise KeyManagementError("AWS KMS does not answer in time") from None
        except KeyError:
            raise KeyManagementError("AWS KMS gives an answer that is none of its own") from None
        except self._errors as error:
            code = (getattr(error, "response", None) or {}).get("Error", {}).get("Code")
            kind = KeyUnknownError if code in _NEVER else KeyManagementError
            raise kind(f"AWS KMS: {error}") from None


def _bound_to(tenant_id: str) -> str:
    return f"data-key:{tenant_id}"


def _aws_context(tenant_id: str) -> dict[str, str]:
    # KMS logs it, and unwraps only with the same.
    return {"freehold:tenant": tenant_id}


def _make_key_file(file: Path) -> bool:
    """Make a key file atomically: one of several processes makes it, and all see the same key."""
    if file.exists():
        return False
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = base64.b64encode(os.urandom(_KEY_BYTES)).decode()
    draft = file.with_name(f".{file.name}.{os.urandom(8).hex()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as opened:
            opened.write(f"k{os.urandom(4).hex()}:{key}\n")
            opened.flush()
            os.fsync(opened.fileno())
        file.hardlink_to(draft)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True
