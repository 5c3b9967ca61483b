"""Charts: what their axes name, where their shapes stand, and what they say in words."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from xml.etree.ElementTree import Element, fromstring
from zoneinfo import ZoneInfo

import pytest

from freehold.console.charts import Bars, Chart, bar_chart, sparkline, step_chart
from freehold.console.scales import amount_label, amount_ticks, time_ticks

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("least", "most", "ticks"),
    [
        (0, 0, [0, 1]),
        (3, 7, [0, 2, 4, 6, 8]),
        (-130, 270, [-200, -100, 0, 100, 200, 300]),
        (-999, -5, [-1000, -800, -600, -400, -200, 0, 200]),
        (1, 4 * 10**37, [place * 10**37 for place in range(5)]),
    ],
)
def test_amounts_of_an_axis_are_round_and_have_zero(
    least: int, most: int, ticks: list[int]
) -> None:
    assert amount_ticks(least, most, 7) == ticks


@pytest.mark.parametrize(
    ("minor", "exponent", "label"),
    [
        (200000, 2, "2,000.00"),
        (-1500, 3, "\N{MINUS SIGN}1.500"),
        (1200000, 0, "1,200,000"),
        (25 * 10**20, 2, "2.5\N{MULTIPLICATION SIGN}10¹⁹"),
        (-(10**37), 0, "\N{MINUS SIGN}1\N{MULTIPLICATION SIGN}10³⁷"),
        (0, 3, "0.000"),
    ],
)
def test_amounts_of_an_axis_have_the_currencys_decimals(
    minor: int, exponent: int, label: str
) -> None:
    assert amount_label(minor, exponent) == label


@pytest.mark.parametrize(
    ("span", "labels"),
    [
        (timedelta(seconds=20), ["12:00:00", "12:00:05", "12:00:10", "12:00:15", "12:00:20"]),
        (timedelta(hours=30), ["12:00", "18:00", "2 Mar", "06:00", "12:00", "18:00"]),
        (10 * DAY, ["2 Mar", "4 Mar", "6 Mar", "8 Mar", "10 Mar"]),
        (300 * DAY, ["May 2026", "Jul 2026", "Sep 2026", "Nov 2026"]),
        (3000 * DAY, ["2028", "2030", "2032", "2034"]),
    ],
)
def test_times_of_an_axis_are_round(span: timedelta, labels: list[str]) -> None:
    assert [tick.label for tick in time_ticks(NOON, NOON + span)] == labels


def test_times_of_an_axis_are_those_of_a_zones_clock() -> None:
    ticks = time_ticks(NOON, NOON + 3 * DAY, ZoneInfo("Asia/Tokyo"))
    assert ticks[0].label == "2 Mar"
    assert ticks[0].at == datetime(2026, 3, 1, 15, tzinfo=UTC)


def test_a_step_holds_until_the_next_change_and_is_also_told_in_words() -> None:
    points = [(NOON, 0), (NOON + DAY, 100), (NOON + 2 * DAY, 100), (NOON + 3 * DAY, -100)]
    chart = step_chart("Balance & more", points, until=NOON + 4 * DAY, exponent=2)
    (path,) = shapes(chart, "path", "step")
    assert path.get("d") == "M40 125H210V24H380V24H550V226H720"
    assert chart.rows == [
        ("2026-03-01 12:00 UTC", "0.00"),
        ("2026-03-02 12:00 UTC", "1.00"),
        ("2026-03-04 12:00 UTC", "\N{MINUS SIGN}1.00"),
    ]
    root = parsed(chart)
    assert (root[0].tag, root[0].text) == ("title", "Balance & more")
    assert root[1].text == (
        "2026-03-01 12:00 UTC to 2026-03-05 12:00 UTC. Least \N{MINUS SIGN}1.00, most 1.00."
        " The figures are in the table."
    )
    assert chart == step_chart("Balance & more", points, until=NOON + 4 * DAY, exponent=2)


def test_amounts_beyond_floats_keep_their_place() -> None:
    chart = step_chart("Big", [(NOON, 10**38 - 1)], until=NOON + DAY)
    (path,) = shapes(chart, "path", "step")
    assert path.get("d") == "M48 24H720"
    assert chart.rows[0][1] == f"{10**38 - 1:,}"


def test_a_mark_stands_where_its_time_is() -> None:
    chart = step_chart("Balance", [(NOON, 1)], until=NOON + 2 * DAY, mark=NOON + DAY)
    assert shapes(chart, "line", "mark")[0].get("x1") == "364"


def test_bars_stand_beside_each_other_and_below_zero() -> None:
    groups = [
        Bars(NOON, NOON + DAY, "1 March", (10, -10)),
        Bars(NOON + DAY, NOON + 2 * DAY, "2 March", (0, 5)),
    ]
    chart = bar_chart("Net", ["<CHARGE>", "REFUND"], groups, exponent=1)
    (charge,) = shapes(chart, "rect", "series-1")
    below, above = shapes(chart, "rect", "series-2")
    assert (charge.get("x"), charge.get("y")) == ("66.4", "24")
    assert below.get("y") == "125"
    assert above.findtext("title") == "2 March, REFUND: 0.5"
    assert charge.findtext("title") == "1 March, <CHARGE>: 1.0"
    assert chart.rows[1] == ("2 March", "0.0", "0.5")
    assert chart.names == ("<CHARGE>", "REFUND")


def test_a_sparkline_takes_any_values() -> None:
    assert 'points="0,23 60,12 120,1"' in sparkline("Events a second", [0, 1.5, 3])
    assert 'points="0,23"' in sparkline("Events a second", [0])
    assert "<title>None yet</title>" in sparkline("None yet", [])


def test_a_chart_has_no_styles_and_no_scripts() -> None:
    chart = step_chart("Balance", [(NOON, 1)], until=NOON + DAY)
    assert all(
        not name.startswith(("style", "on"))
        for shape in parsed(chart).iter()
        for name in shape.attrib
    )


def shapes(chart: Chart, tag: str, kind: str) -> Sequence[Element]:
    """The shapes of a chart that have a class."""
    return parsed(chart).findall(f"{tag}[@class='{kind}']")


def parsed(chart: Chart) -> Element:
    return fromstring(chart.svg)  # noqa: S314 (drawn by the test)
