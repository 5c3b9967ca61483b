"""Charts as SVG, drawn by the server. Each also has a title and its figures as a table, in words.

The style sheet gives colours by class, and the axis always has zero, so that heights compare.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from itertools import pairwise
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

from markupsafe import Markup

from freehold.console.scales import amount_label, amount_ticks, time_ticks
from freehold.console.texts import amount

SERIES_MAX = 6
"""As many colours the style sheet has."""

_WIDTH, _HEIGHT = 720.0, 260.0
_TOP, _BOTTOM = 24.0, 34.0
_EDGE = 45.0
_BAR_MIN = 0.75
_LETTER = 8.0
_SPARK_WIDTH, _SPARK_HEIGHT = 120.0, 24.0


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, and its figures in words. The macro `figure` of `charts.html` shows both."""

    title: str
    svg: Markup
    span: str
    """From when to when it goes."""
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    names: tuple[str, ...] = ()
    """What the colours stand for."""


class Bars(NamedTuple):
    """The values of one bucket, one for each name."""

    start: datetime
    end: datetime
    label: str
    values: tuple[int, ...]


def step_chart(
    title: str,
    points: Sequence[tuple[datetime, int]],
    *,
    until: datetime,
    exponent: int = 0,
    mark: datetime | None = None,
    zone: tzinfo = UTC,
) -> Chart:
    """Draw how a value changed: each point's holds from its time to that of the next.

    Args:
        title: What is shown, with its unit.
        points: At least one, in order of time; values in minor units.
        until: When the chart ends.
        exponent: The decimals of the values.
        mark: A time to point out.
        zone: Whose clock the axis shows.
    """
    values = [value for _, value in points]
    plot = _Plot(title, points[0][0], until, (min(values), max(values)), exponent, zone)
    x, y = plot.x, plot.y
    path = f"M{x(points[0][0])} {y(values[0])}" + "".join(
        f"H{x(at)}V{y(value)}" for at, value in points[1:]
    )
    path += f"H{x(until)}"
    plot.draw("path", "area", d=f"{path}V{y(0)}H{x(points[0][0])}Z")
    plot.draw("path", "step", d=path)
    if mark is not None and points[0][0] <= mark <= until:
        plot.draw("line", "mark", x1=x(mark), x2=x(mark), y1=f"{_TOP:g}", y2=f"{_HEIGHT - _BOTTOM}")
    changes = [points[0], *(point for last, point in pairwise(points) if point[1] != last[1])]
    rows = [(_time(at, zone), amount(value, exponent)) for at, value in changes]
    return plot.chart(("Since", "Value"), rows)


def bar_chart(
    title: str,
    names: Sequence[str],
    groups: Sequence[Bars],
    *,
    exponent: int = 0,
    zone: tzinfo = UTC,
) -> Chart:
    """Draw values of buckets of time side by side.

    Args:
        title: What is shown, with its unit.
        names: What the values of each group are of: `SERIES_MAX` at most.
        groups: At least one, in order of time; a bucket that is left out has no bars.
        exponent: The decimals of the values.
        zone: Whose clock the axis shows.
    """
    values = [value for group in groups for value in group.values]
    plot = _Plot(title, groups[0].start, groups[-1].end, (min(values), max(values)), exponent, zone)
    rows = []
    for group in groups:
        written = [amount(value, exponent) for value in group.values]
        rows.append((group.label, *written))
        left = float(plot.x(group.start))
        # A tenth stays free on each side.
        room = (float(plot.x(group.end)) - left) * 0.8
        width = max(room / len(names), _BAR_MIN)
        left += room / 8
        for place, (name, value) in enumerate(zip(names, group.values, strict=True)):
            if not value:
                continue
            top, bottom = sorted((float(plot.y(value)), float(plot.y(0))))
            bar = plot.draw(
                "rect",
                f"series-{place + 1}",
                x=_short(left + place * width),
                y=_short(top),
                width=_short(width),
                height=_short(max(bottom - top, _BAR_MIN)),
            )
            SubElement(bar, "title").text = f"{group.label}, {name}: {written[place]}"
    return plot.chart(("From", *names), rows, tuple(names))


def sparkline(title: str, values: Sequence[float]) -> Markup:
    """Draw the course of a value in a line of text, from zero on. The title says it in words."""
    svg = _svg(title, _SPARK_WIDTH, _SPARK_HEIGHT, "sparkline")
    most = max(values, default=0) or 1
    distance = _SPARK_WIDTH / max(len(values) - 1, 1)
    points = [
        f"{_short(place * distance)},{_short((1 - max(value, 0) / most) * (_SPARK_HEIGHT - 2) + 1)}"
        for place, value in enumerate(values)
    ]
    SubElement(svg, "polyline", {"points": " ".join(points)})
    return _written(svg)


class _Plot:
    """The axes of a chart. What is drawn stands between them."""

    def __init__(
        self,
        title: str,
        first: datetime,
        last: datetime,
        values: tuple[int, int],
        exponent: int,
        zone: tzinfo,
    ) -> None:
        self._title = title
        self._first, self._last, self._zone = first, last, zone
        self._ticks = amount_ticks(*values)
        self._labels = [amount_label(tick, exponent) for tick in self._ticks]
        self._left = max(map(len, self._labels)) * _LETTER
        self._svg = _svg(title, _WIDTH, _HEIGHT, "plot")
        SubElement(self._svg, "desc").text = (
            f"{self._span()}. Least {amount(values[0], exponent)},"
            f" most {amount(values[1], exponent)}. The figures are in the table."
        )
        for tick in self._ticks:
            y = self.y(tick)
            self.draw("line", "grid" if tick else "zero", x1="0", x2=f"{_WIDTH:g}", y1=y, y2=y)
        for at, label in time_ticks(first, last, zone):
            x = float(self.x(at))
            anchor = "end" if x > _WIDTH - _EDGE else "middle"
            self._write(label, _short(x), f"{_HEIGHT - 8:g}", anchor)

    def x(self, at: datetime) -> str:
        """Give where a time stands."""
        share = (at - self._first) / (self._last - self._first) if self._last > self._first else 1
        return _short(self._left + share * (_WIDTH - self._left))

    def y(self, value: int) -> str:
        """Give where a value stands."""
        least, most = self._ticks[0], self._ticks[-1]
        # Integers of any size have a ratio, also where they are no floats.
        share = (value - least) / (most - least)
        return _short(_TOP + (1 - share) * (_HEIGHT - _TOP - _BOTTOM))

    def draw(self, shape: str, kind: str, **where: str) -> Element:
        """Add a shape."""
        return SubElement(self._svg, shape, {"class": kind, **where})

    def chart(
        self, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], names: tuple[str, ...] = ()
    ) -> Chart:
        """Finish the chart."""
        # Above what is drawn: on a phone the letters are larger than the room beside it.
        for tick, label in zip(self._ticks, self._labels, strict=True):
            self._write(label, "0", _short(float(self.y(tick)) - 4), "start")
        return Chart(self._title, _written(self._svg), self._span(), columns, rows, names)

    def _write(self, label: str, x: str, y: str, anchor: str) -> None:
        self.draw("text", "label", x=x, y=y, **{"text-anchor": anchor}).text = label

    def _span(self) -> str:
        return f"{_time(self._first, self._zone)} to {_time(self._last, self._zone)}"


def _svg(title: str, width: float, height: float, kind: str) -> Element:
    svg = Element("svg", {"viewBox": f"0 0 {width:g} {height:g}", "role": "img", "class": kind})
    SubElement(svg, "title").text = title
    return svg


def _time(at: datetime, zone: tzinfo) -> str:
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M %Z}"


def _short(length: float) -> str:
    return f"{length:.1f}".removesuffix(".0")


def _written(svg: Element) -> Markup:
    # ElementTree has escaped all text in it.
    return Markup(tostring(svg, encoding="unicode"))  # noqa: S704
