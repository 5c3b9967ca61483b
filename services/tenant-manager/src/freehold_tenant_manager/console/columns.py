"""The columns of the page of tenants: what each shows, and how it sorts."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from freehold_tenant_manager.console.concerns import Concern
from freehold_tenant_manager.contracts.usage import TenantUsage


@dataclass(frozen=True, slots=True)
class Row:
    """A tenant on the page."""

    usage: TenantUsage
    concerns: Sequence[Concern]

    @property
    def gravity(self) -> int:
        """How bad the worst of it is."""
        return max((concern.gravity for concern in self.concerns), default=0)


@dataclass(frozen=True, slots=True)
class Column:
    """A column."""

    name: str
    words: str
    value: Callable[[Row], Any]
    """What it sorts by; None comes last in either direction."""
    is_number: bool = True


def _of_usage(name: str, words: str) -> Column:
    return Column(name, words, lambda row: getattr(row.usage, name))


COLUMNS = (
    Column("tenant", "Tenant", lambda row: row.usage.tenant_id, is_number=False),
    Column("state", "State", lambda row: row.gravity, is_number=False),
    _of_usage("events", "Events"),
    _of_usage("events_per_s", "Events/s"),
    _of_usage("accounts", "Accounts"),
    _of_usage("events_behind", "Behind"),
    _of_usage("seconds_behind", "Lag"),
    _of_usage("size_bytes", "Size"),
    _of_usage("growth_bytes_per_day", "Growth/day"),
    _of_usage("last_backup_at", "Last backup"),
    _of_usage("last_trial_at", "Last trial"),
    _of_usage("schema_version", "Schema"),
    _of_usage("connections", "Sessions"),
    _of_usage("errors", "Errors/day"),
    _of_usage("doorbells_parked", "Parked/day"),
    _of_usage("cpu_share", "Cost share"),
)
_BY_NAME = {column.name: column for column in COLUMNS}
ORDERS = frozenset(sign + name for sign in ("", "-") for name in _BY_NAME)


def ordered(rows: Iterable[Row], order: str) -> list[Row]:
    """Sort rows by a column's name, with a minus in front for the largest first."""
    value = _BY_NAME[order.removeprefix("-")].value
    by_id = sorted(rows, key=lambda row: row.usage.tenant_id)
    known = [row for row in by_id if value(row) is not None]
    unknown = [row for row in by_id if value(row) is None]
    return sorted(known, key=value, reverse=order.startswith("-")) + unknown
