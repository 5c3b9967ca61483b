"""Files: exports, and statements as CSV or PDF."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal

from freehold_client.calls import Call, Time
from freehold_client.core import Core
from freehold_client.generated import calls
from freehold_client.methods import Plan

Destination = str | os.PathLike[str] | BinaryIO
"""A path, or what is open for bytes."""

# A busy server may take long for the first piece.
_SILENCE_S = 300.0
_MEDIA_TYPES = {"csv": "text/csv", "pdf": "application/pdf"}


def export_ledger(
    file: Destination, tenant_id: str, *, file_format: Literal["sql", "custom"] = "sql"
) -> Plan[int]:
    """Download a tenant's whole ledger as one file, and give its size in bytes.

    Args:
        file: Where to. A path gets its file only when it is whole.
        tenant_id: The tenant.
        file_format: Plain SQL for psql, or a file for pg_restore.

    Raises:
        Problem: The export is refused.
        NoAnswerError: It broke off.
    """
    return _saved(calls.export_ledger(tenant_id, format=file_format), file, "*/*")


def export_own_ledger(
    file: Destination, *, file_format: Literal["sql", "custom"] = "sql"
) -> Plan[int]:
    """Download one's own ledger as one file, and give its size in bytes.

    Args:
        file: Where to. A path gets its file only when it is whole.
        file_format: Plain SQL for psql, or a file for pg_restore.

    Raises:
        Problem: The export is refused.
        NoAnswerError: It broke off.
    """
    return _saved(calls.export_own_ledger(format=file_format), file, "*/*")


def export_operator_acts(file: Destination) -> Plan[int]:
    """Download the audit log of operators, an entry a line, and give its size in bytes.

    Args:
        file: Where to. A path gets its file only when it is whole.

    Raises:
        Problem: The export is refused.
        NoAnswerError: It broke off.
    """
    return _saved(calls.export_operator_acts(), file, "*/*")


def save_statement(
    file: Destination,
    account_id: str,
    *,
    currency: str,
    file_format: Literal["csv", "pdf"] = "csv",
    from_: Time | None = None,
    to: Time | None = None,
    by: Literal["transaction_time", "recorded_at"] | None = None,
    order: Literal["asc", "desc"] | None = None,
) -> Plan[int]:
    """Write a whole statement to a file, and give its size in bytes.

    Args:
        file: Where to. A path gets its file only when it is whole.
        account_id: The account.
        currency: An ISO 4217 code, in capitals.
        file_format: CSV of any length, or PDF of at most 5,000 lines.
        from_: Only events of this time or later.
        to: Only events before this time.
        by: Which time counts.
        order: The oldest line first, or the newest.

    Raises:
        Problem: The statement is refused.
        NoAnswerError: It broke off.
    """
    call = calls.get_statement(
        account_id, currency=currency, from_=from_, to=to, by=by, order=order
    )
    return _saved(call, file, _MEDIA_TYPES[file_format])


def _saved(call: Call[Any], file: Destination, media_type: str) -> Plan[int]:
    async def save(core: Core) -> int:
        transport = core.transport(call.route.service)
        size = 0
        with _writing(file) as opened:
            async with core.opened(call, timeout_s=_SILENCE_S, Accept=media_type) as pieces:
                async for piece in pieces:
                    size += await transport.aside(partial(opened.write, piece))
        return size

    return save


@contextmanager
def _writing(file: Destination) -> Iterator[BinaryIO]:
    """Open a file that gets its name when all went well, and is removed otherwise."""
    if not isinstance(file, (str, os.PathLike)):
        yield file
        return
    target = Path(file)
    draft = target.with_name(f"{target.name}.part")
    try:
        with draft.open("wb") as opened:
            yield opened
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
