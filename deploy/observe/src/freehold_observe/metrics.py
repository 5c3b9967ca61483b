"""Every metric of the services, as their sources declare it."""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from freehold_observe.sources import Module, modules

PREFIX = "freehold_"
_UNITS = ("seconds", "bytes", "ratio")
# The calls that declare a metric: those of prometheus_client, and freehold.observability.metrics.
_TYPES = {
    "Counter": "counter",
    "Gauge": "gauge",
    "Histogram": "histogram",
    "TracedHistogram": "histogram",
    "Info": "info",
    "counted_by": "counter",
    "CounterMetricFamily": "counter",
    "GaugeMetricFamily": "gauge",
}


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric.

    Attributes:
        service: The service that exports it.
        name: Its name in queries; a histogram's series add `_bucket`, `_count` and `_sum`.
        type: Its type.
        meaning: What it says.
        labels: Its labels, each with the values that are known beforehand.
    """

    service: str
    name: str
    type: str
    meaning: str
    labels: Mapping[str, tuple[str, ...]]

    @property
    def unit(self) -> str:
        """The unit that its name ends with, or an empty text."""
        words = self.name.removesuffix("_total").split("_")
        return words[-1] if words[-1] in _UNITS else ""

    @property
    def series(self) -> tuple[str, ...]:
        """The names of its series."""
        if self.type == "histogram":
            return tuple(f"{self.name}_{part}" for part in ("bucket", "count", "sum"))
        return (self.name,)


def metrics() -> list[Metric]:
    """Read all metrics, by service and name."""
    found = [metric for module in modules() for metric in _declared(module)]
    return sorted(found, key=lambda metric: (metric.service, metric.name))


def _declared(module: Module) -> Iterator[Metric]:
    for call in module.calls():
        function = call.func.id if isinstance(call.func, ast.Name) else ""
        if function in _TYPES and call.args and _is_name(call.args[0]):
            name, meaning, *rest = (_value(argument) for argument in call.args)
            given = {word.arg: word.value for word in call.keywords}
            if "labels" in given:
                rest = [_value(given["labels"])]
            yield Metric(
                module.service,
                f"{name}_info" if function == "Info" else name,
                _TYPES[function],
                meaning,
                _labels(function, rest),
            )


def _is_name(argument: ast.expr) -> bool:
    return isinstance(argument, ast.Constant) and str(argument.value).startswith(PREFIX)


def _labels(function: str, rest: list[Any]) -> dict[str, tuple[str, ...]]:
    if function == "Info":
        return {"version": (), "commit": ()}
    if function == "counted_by":
        label, values = rest
        return {label: values}
    return dict.fromkeys(rest[0] if rest else (), ())


def _value(argument: ast.expr) -> Any:
    """Read an argument.

    Raises:
        ValueError: It is no literal, so that only the running program knows it.
    """
    return ast.literal_eval(argument)
