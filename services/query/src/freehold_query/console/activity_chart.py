"""Lines of activity as their page shows them, and their chart."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Literal

from freehold.console.charts import SERIES_MAX, Bars, Chart, bar_chart
from freehold.contracts.currency import MINOR_UNIT_EXPONENTS
from freehold.ledger.client import Record
from freehold_query.activity.buckets import Buckets

Measure = Literal["events", "net", "in", "out"]
_OTHERS = "others"
_TITLES = {"net": "Net amounts", "in": "Amounts in", "out": "Amounts out"}


@dataclass(frozen=True, slots=True)
class ActivityLine:
    """What the events of one type in one currency add up to in a bucket; amounts in minor units."""

    start: datetime
    end: datetime
    label: str
    currency: str
    exponent: int
    event_type: str
    event_count: int
    in_minor: int
    out_minor: int

    @property
    def net_minor(self) -> int:
        """What came in, less what went out."""
        return self.in_minor - self.out_minor

    def measured(self, measure: Measure) -> int:
        """Give what a chart shows of it."""
        match measure:
            case "events":
                return self.event_count
            case "in":
                return self.in_minor
            case "out":
                return self.out_minor
            case "net":
                return self.net_minor


def activity_lines(rows: Iterable[tuple[datetime, Record]], buckets: Buckets) -> list[ActivityLine]:
    """Give sums with the bucket that each is of."""
    lines = []
    for start, row in rows:
        _, end = buckets.boundaries(start, start, 1)
        lines.append(
            ActivityLine(
                start,
                end,
                buckets.name(start),
                row["currency"],
                MINOR_UNIT_EXPONENTS[row["currency"]],
                row["event_type"],
                row["event_count"],
                int(row["amount_in_minor"]),
                int(row["amount_out_minor"]),
            )
        )
    return lines


def activity_chart(lines: Sequence[ActivityLine], measure: Measure, zone: tzinfo) -> Chart | None:
    """Draw lines, with bars for each event type; None where there is nothing to draw.

    Amounts of several currencies have no common axis.
    """
    currencies = {line.currency for line in lines}
    if not lines or (measure != "events" and len(currencies) > 1):
        return None
    if measure == "events":
        title, exponent = "Events", 0
    else:
        title, exponent = f"{_TITLES[measure]}, {lines[0].currency}", lines[0].exponent
    names = _names(lines)
    sums: defaultdict[tuple[datetime, datetime, str], Counter[str]] = defaultdict(Counter)
    for line in lines:
        name = line.event_type if line.event_type in names else _OTHERS
        sums[line.start, line.end, line.label][name] += line.measured(measure)
    groups = [
        Bars(*bucket, tuple(values[name] for name in names)) for bucket, values in sums.items()
    ]
    return bar_chart(title, names, groups, exponent=exponent, zone=zone)


def _names(lines: Sequence[ActivityLine]) -> list[str]:
    """Give the event types that have a colour: the most frequent ones, in order of their names."""
    counts: Counter[str] = Counter()
    for line in lines:
        counts[line.event_type] += line.event_count
    if len(counts) <= SERIES_MAX:
        return sorted(counts)
    return [*sorted(name for name, _ in counts.most_common(SERIES_MAX - 1)), _OTHERS]
