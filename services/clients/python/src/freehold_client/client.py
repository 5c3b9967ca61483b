"""The two clients: one blocks the thread, the other is awaited."""

import os
from abc import abstractmethod
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from freehold_client.core import Core
from freehold_client.downloads import (
    export_ledger,
    export_operator_acts,
    export_own_ledger,
    save_statement,
)
from freehold_client.generated.operations import Operations
from freehold_client.imports import import_events
from freehold_client.methods import Answered, Awaiting, Blocking, Iterated, run
from freehold_client.operations import wait_for_operation
from freehold_client.raw import request
from freehold_client.settings import (
    INGEST_URL,
    QUERY_URL,
    TENANT_MANAGER_URL,
    Settings,
    environment_settings,
)
from freehold_client.stream import stream_balances
from freehold_client.transports import Transport, async_transport, blocking_transport

_TIMEOUT_S = 30.0
_RETRY_FOR_S = 60.0


class _Client(Operations):
    """What both clients are.

    Args:
        api_key: A tenant's API key, or a read token.
        operator_token: The operator's token, for the operator's calls.
        ingest_url: As `https://ingest.example.com`.
        query_url: As above.
        tenant_manager_url: As above.
        timeout_s: How long one try waits for the service to take or to send bytes.
        retry_for_s: No further try begins later than this after the first.
        open_transport: Makes the transport to an address, for proxies and certificates of one's
            own.

    Raises:
        SettingsError: An address or a credential cannot be one.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        operator_token: str | None = None,
        ingest_url: str = INGEST_URL,
        query_url: str = QUERY_URL,
        tenant_manager_url: str = TENANT_MANAGER_URL,
        timeout_s: float = _TIMEOUT_S,
        retry_for_s: float = _RETRY_FOR_S,
        open_transport: Callable[[str], Transport] | None = None,
    ) -> None:
        settings = Settings(
            api_key=api_key,
            operator_token=operator_token,
            ingest_url=ingest_url,
            query_url=query_url,
            tenant_manager_url=tenant_manager_url,
        )
        self.core = Core(
            settings,
            open_transport or self._open_transport,
            timeout_s=timeout_s,
            retry_for_s=retry_for_s,
        )

    @classmethod
    def from_environment(
        cls,
        environment: Mapping[str, str] = os.environ,
        *,
        timeout_s: float = _TIMEOUT_S,
        retry_for_s: float = _RETRY_FOR_S,
    ) -> Self:
        """Take credentials and addresses from the environment.

        They are FREEHOLD_API_KEY, FREEHOLD_OPERATOR_TOKEN, FREEHOLD_INGEST_URL,
        FREEHOLD_QUERY_URL and FREEHOLD_TENANT_MANAGER_URL.

        Raises:
            SettingsError: One of them cannot be what it is to be.
        """
        settings = environment_settings(environment)
        return cls(**settings, timeout_s=timeout_s, retry_for_s=retry_for_s)

    @staticmethod
    @abstractmethod
    def _open_transport(url: str) -> Transport: ...

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.core.settings})"

    export_ledger = Answered(export_ledger)
    export_operator_acts = Answered(export_operator_acts)
    export_own_ledger = Answered(export_own_ledger)
    import_events = Answered(import_events)
    request = Answered(request)
    save_statement = Answered(save_statement)
    stream_balances = Iterated(stream_balances)
    wait_for_operation = Answered(wait_for_operation)


class Freehold(_Client, Blocking):
    """Freehold for one caller. Threads may share it."""

    _open_transport = staticmethod(blocking_transport)

    def close(self) -> None:
        """Close all connections."""
        run(self.core.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncFreehold(_Client, Awaiting):
    """Freehold for one caller, on asyncio or Trio. Tasks may share it."""

    _open_transport = staticmethod(async_transport)

    async def aclose(self) -> None:
        """Close all connections."""
        await self.core.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
