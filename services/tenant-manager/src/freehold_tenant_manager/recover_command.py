"""The command `freehold-tenant-manager recover`: progress on stderr, a table or JSON on stdout."""

import argparse
import asyncio
import sys
from collections.abc import Sequence

import orjson

from freehold.contracts.errors import DomainError
from freehold.security.key_ring import KeyRing
from freehold_tenant_manager.foundation import Foundation, new_key_management, storage_choices
from freehold_tenant_manager.operations.store import OperationRow
from freehold_tenant_manager.recovery.recovery import Recovery, RecoveryError, Report
from freehold_tenant_manager.recovery.versions import Versions
from freehold_tenant_manager.settings import Settings
from freehold_tenant_manager.storage.data_keys import DataKeys
from freehold_tenant_manager.storage.objects import Storage
from freehold_tenant_manager.storage.vault import Vault

_BAR_CHARACTERS = 30
_LINE_CHARACTERS = 100
_HASH_CHARACTERS = 16
_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--version", type=int, metavar="N", help="a version of the catalog; the newest without it"
    )
    parser.add_argument("--list", action="store_true", help="list the versions, and do no more")
    parser.add_argument("--json", action="store_true", help="answer as JSON")


def recover(settings: Settings, arguments: argparse.Namespace) -> int:
    """Run it; give the exit status.

    0: all tenants are back. 1: a tenant is not, or nothing was begun; the reason is printed. 130:
    it was interrupted.
    """
    try:
        recovery = new_recovery(settings, KeyRing(settings.credential_keys.get_secret_value()))
        if arguments.list:
            return asyncio.run(_list(recovery, as_json=arguments.json))
        report = asyncio.run(recovery.run(arguments.version, _bar()))
    except KeyboardInterrupt:
        _clear()
        sys.stderr.write("interrupted; run it again, and it continues\n")
        return _INTERRUPTED
    except (RecoveryError, DomainError, ValueError) as error:
        fault = error.detail if isinstance(error, DomainError) else str(error)
        _clear()
        if arguments.json:
            _write_json({"ok": False, "fault": fault})
        else:
            sys.stderr.write(f"not recovered: {fault}\n")
        return 1
    _clear()
    if arguments.json:
        _write_json(report.as_json())
    else:
        sys.stdout.write(table(report) + "\n")
    return 0 if report.is_whole else 1


def new_recovery(settings: Settings, key_ring: KeyRing) -> Recovery:
    """Compose a recovery from the parts of the service."""
    base = Foundation(settings, key_ring)
    # Which catalog the storage belongs to is not known before that catalog is recovered.
    storage = Storage(settings.storage_url, **storage_choices(settings))
    data_keys = DataKeys(base.catalog, storage, new_key_management(settings))
    return Recovery(
        base.server,
        base.setup,
        base.catalog,
        base.operations,
        base.storage,
        base.shipper,
        data_keys=data_keys,
        versions=Versions(storage, Vault(storage, data_keys), keep_days=settings.backup_keep_days),
        storage_url=settings.storage_url,
    )


async def _list(recovery: Recovery, *, as_json: bool) -> int:
    versions = await recovery.list()
    if as_json:
        _write_json([{"version": v.number, "written_at": v.written_at} for v in versions])
    else:
        for version in versions:
            sys.stdout.write(f"{version.number:>8}  {version.written_at:%Y-%m-%d %H:%M:%S} UTC\n")
    return 0


def _bar() -> "_Bar":
    return _Bar(is_shown=sys.stderr.isatty())


class _Bar:
    """A progress bar for all ledgers, on a terminal."""

    def __init__(self, *, is_shown: bool) -> None:
        self._is_shown = is_shown

    def __call__(self, operations: Sequence[OperationRow]) -> None:
        if not self._is_shown or not operations:
            return
        done = sum(operation.finished_at is not None for operation in operations)
        share = sum(
            1 if operation.finished_at is not None else operation.progress
            for operation in operations
        ) / len(operations)
        bar = "#" * round(share * _BAR_CHARACTERS)
        at_work = next((one for one in operations if one.status == "running"), None)
        what = "" if at_work is None else f"{at_work.tenant_id}: {at_work.message}"
        line = f"[{bar:<{_BAR_CHARACTERS}}] {done} of {len(operations)} tenants  {what}"
        sys.stderr.write(f"\r{line[:_LINE_CHARACTERS]:<{_LINE_CHARACTERS}}")
        sys.stderr.flush()


def _clear() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r" + " " * _LINE_CHARACTERS + "\r")


def table(report: Report) -> str:
    """Write for a person what is back, and what is not."""
    rows = [("tenant", "events", "last recorded at", "hash", "epoch", "verified")]
    rows += [
        (
            one.tenant_id,
            "" if one.head_seq is None else str(one.head_seq),
            (one.last_recorded_at or "")[:23],
            (one.head_hash or "")[:_HASH_CHARACTERS],
            "" if one.epoch is None else str(one.epoch),
            "yes" if one.status == "recovered" else "NOT BROUGHT BACK",
        )
        for one in report.tenants
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows]
    for one in report.tenants:
        if one.status != "recovered":
            lines.append(f"{one.tenant_id}: {one.message}")
        if one.damaged_backups:
            lines.append(f"{one.tenant_id}: damaged backups: {', '.join(one.damaged_backups)}")
        if one.passwords_replaced:
            lines.append(
                f"{one.tenant_id}: no key opens the passwords of"
                f" {', '.join(one.passwords_replaced)}; they have new ones"
            )
    if report.undone:
        lines.append(f"not fully made, and so forgotten: {', '.join(report.undone)}")
    if report.unknown:
        lines.append(
            f"in the storage, and not in this version of the catalog: {', '.join(report.unknown)}"
        )
    taken_at = report.catalog_taken_at
    lines.append(
        f"catalog: version {report.version}"
        + ("" if taken_at is None else f", of {taken_at:%Y-%m-%d %H:%M:%S} UTC")
        + "; what was acknowledged after each ledger's last event is missing"
    )
    return "\n".join(line.rstrip() for line in lines)


def _write_json(value: object) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")
