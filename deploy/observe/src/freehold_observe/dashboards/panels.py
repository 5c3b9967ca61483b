"""What the dashboards are made of: figures, graphs and rankings of what Prometheus knows."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import bargauge, common, stat, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard as DashboardBuilder
from grafana_foundation_sdk.builders.dashboard import (
    DashboardLink,
    DatasourceVariable,
    ThresholdsConfig,
)
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BigValueColorMode,
    BigValueGraphMode,
    GraphGradientMode,
    LegendDisplayMode,
    LegendPlacement,
    TooltipDisplayMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
)

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "freehold"

# Of a grid that is 24 wide.
FIGURE_WIDTH, GRAPH_WIDTH = 4, 8
FIGURE_HEIGHT, GRAPH_HEIGHT = 4, 8


@dataclass(frozen=True, slots=True)
class Query:
    """A query, and the name of each of its series; `{{label}}` stands for a label's value."""

    name: str
    expression: str


def dashboard(uid: str, title: str, description: str) -> DashboardBuilder:
    """Begin a dashboard, whose source of data and neighbours can be chosen at its top."""
    return (
        DashboardBuilder(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .time("now-6h", "now")
        .refresh("30s")
        .timezone("browser")
        .readonly()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            DashboardLink("Freehold")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .keep_time(True)
            .as_dropdown(True)
        )
        .with_variable(DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )


def figure(
    title: str, meaning: str, unit: str, query: Query, *, bad_from: float | None = None
) -> stat.Panel:
    """Show the last values as figures.

    Args:
        title: Its heading.
        meaning: What it says, and what to do about it.
        unit: Grafana's name of the unit.
        query: What it shows.
        bad_from: From here on a figure is red; None where none is bad.
    """
    steps = [Threshold(None, "green")]
    if bad_from is not None:
        steps.append(Threshold(bad_from, "red"))
    return (
        stat.Panel()
        .title(title)
        .description(meaning)
        .unit(unit)
        .datasource(SOURCE)
        .with_target(_target(0, query, instant=True))
        .thresholds(ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps))
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .span(FIGURE_WIDTH)
        .height(FIGURE_HEIGHT)
    )


def graph(title: str, meaning: str, unit: str, *queries: Query) -> timeseries.Panel:
    """Show values over time."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(meaning)
        .unit(unit)
        .min(0)
        .datasource(SOURCE)
        .fill_opacity(10)
        .gradient_mode(GraphGradientMode.OPACITY)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .span(GRAPH_WIDTH)
        .height(GRAPH_HEIGHT)
    )
    for number, query in enumerate(queries):
        panel.with_target(_target(number, query, instant=False))
    return panel


def ranking(title: str, meaning: str, unit: str, query: Query) -> bargauge.Panel:
    """Show the last values as bars, of which the query has the longest first."""
    return (
        bargauge.Panel()
        .title(title)
        .description(meaning)
        .unit(unit)
        .min(0)
        .datasource(SOURCE)
        .with_target(_target(0, query, instant=True))
        .display_mode(BarGaugeDisplayMode.BASIC)
        .orientation(VizOrientation.HORIZONTAL)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .span(GRAPH_WIDTH)
        .height(GRAPH_HEIGHT)
    )


def quantiles(histogram: str, by: Sequence[str] = (), where: str = "") -> tuple[Query, Query]:
    """Query what half, and what one of a hundred, of a histogram's observations exceed."""
    grouped = ", ".join([*by, "le"])
    names = " ".join(f"{{{{{label}}}}}" for label in by)
    rates = f"sum by ({grouped}) (rate({histogram}_bucket{{{where}}}[$__rate_interval]))"
    half, most = (
        Query(f"{title} {names}".strip(), f"histogram_quantile({share}, {rates})")
        for title, share in (("median", 0.5), ("p99", 0.99))
    )
    return half, most


def _target(number: int, query: Query, *, instant: bool) -> Dataquery:
    target = (
        Dataquery()
        .ref_id(chr(ord("A") + number))
        .datasource(SOURCE)
        .expr(query.expression)
        .legend_format(query.name)
    )
    # Only the observations of a histogram name their traces.
    target.exemplar("_bucket" in query.expression)
    return target.instant() if instant else target.range()
