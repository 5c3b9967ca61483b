"""A tenant's usage over time, as charts."""

from collections.abc import Callable, Sequence
from datetime import datetime
from math import ceil

from freehold.console.charts import Chart, step_chart
from freehold_tenant_manager.contracts.usage import UsagePoint

_POINTS_MAX = 200
_MB_HUNDREDTHS = 10_000


def usage_charts(series: Sequence[UsagePoint], until: datetime) -> list[Chart]:
    """Draw events, size and work of a tenant up to a time; none before there are two samples."""
    some = series[:: max(1, ceil(len(series) / _POINTS_MAX))]
    drawn = (
        _chart("Events in the ledger", some, until, lambda point: point.events),
        _chart("Size, in MB", some, until, _size, exponent=2),
        _chart("Work, in seconds a second", some, until, _work, exponent=3),
    )
    return [chart for chart in drawn if chart is not None]


def _size(point: UsagePoint) -> int | None:
    return None if point.size_bytes is None else point.size_bytes // _MB_HUNDREDTHS


def _work(point: UsagePoint) -> int | None:
    """Give the time that database and services were busy, in thousandths."""
    if not point.seconds:
        return None
    return round((point.database_s + point.services_s) / point.seconds * 1000)


def _chart(
    title: str,
    series: Sequence[UsagePoint],
    until: datetime,
    value: Callable[[UsagePoint], int | None],
    *,
    exponent: int = 0,
) -> Chart | None:
    points = [(point.sampled_at, found) for point in series if (found := value(point)) is not None]
    if len(points) < 2:
        return None
    return step_chart(title, points, until=until, exponent=exponent)
