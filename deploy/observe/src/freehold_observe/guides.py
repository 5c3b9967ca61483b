"""The guides to metrics and log events, made of the sources."""

from collections.abc import Iterable, Iterator
from os.path import relpath
from pathlib import Path

from freehold_observe.log_events import LogEvent, log_events
from freehold_observe.metrics import Metric, metrics
from freehold_observe.sources import SERVICES, SHARED

FOLDER = Path("services/guides")

_HEADINGS = {SHARED: "Every service"}

_METRICS = """\
<!-- Made of the services' sources by `make format`: change it there. -->

# Metrics

Every service answers `/metrics` without a credential, in Prometheus's format. These are all metrics
of Freehold's own; those of the process and of Python (`process_…`, `python_…`) come with them. What
uses them: [rules and dashboards](../../deploy/README.md#watching-it).

A counter begins at 0 when its process starts. Where a label's values are listed, each has its
series from then on. A histogram has the series `…_bucket`, `…_count` and `…_sum`.
"""

_LOG_EVENTS = """\
<!-- Made of the services' sources by `make format`: change it there. -->

# Log events

Services log to stderr: one JSON object a line, or plain text at a terminal. Every line has
`timestamp` (UTC), `level`, `event` and `service`. Lines of a request have its `request_id`, and
those of a tenant's work their `tenant_id`; while [traced](tracing.md), `trace_id` and `span_id`.
`fault` is the error in short, and `exception` a traceback without values. A field whose name could
be that of a secret is masked.

`FREEHOLD_LOG_LEVEL` chooses the lowest level that is logged. What is logged as `warning` mends
itself or is tried again; an `error` needs somebody. Lines of libraries are not listed.
"""


def guides() -> dict[Path, str]:
    """Write the guides, by their files from the top of the checkout."""
    return {
        FOLDER / "metrics.md": _page(_METRICS, _metric_rows(metrics())),
        FOLDER / "log-events.md": _page(_LOG_EVENTS, _log_event_rows(log_events())),
    }


def _page(introduction: str, rows: Iterable[tuple[str, str]]) -> str:
    """Put the rows of each service, which begin with those of the heads, under its heading."""
    by_service: dict[str, list[str]] = {service: [] for service in SERVICES}
    for service, row in rows:
        by_service[service].append(row)
    sections = (
        f"\n## {_HEADINGS.get(service, service)}\n\n" + "".join(lines)
        for service, lines in by_service.items()
    )
    return introduction + "".join(sections)


def _metric_rows(found: Iterable[Metric]) -> Iterator[tuple[str, str]]:
    yield from _heads("metric", "type", "labels", "unit", "meaning")
    for metric in found:
        labels = "; ".join(
            f"`{label}`: {', '.join(values)}" if values else f"`{label}`"
            for label, values in metric.labels.items()
        )
        yield (
            metric.service,
            _row(f"`{metric.name}`", metric.type, labels, metric.unit, metric.meaning),
        )


def _log_event_rows(found: Iterable[LogEvent]) -> Iterator[tuple[str, str]]:
    yield from _heads("event", "level", "fields", "module")
    for event in found:
        module = f"[{event.path.stem}]({relpath(event.path, FOLDER)})"
        fields = ", ".join(f"`{name}`" for name in event.fields)
        yield event.service, _row(event.text, event.level, fields, module)


def _heads(*columns: str) -> Iterator[tuple[str, str]]:
    for service in SERVICES:
        yield service, _row(*columns) + _row(*("---" for _ in columns))


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"
