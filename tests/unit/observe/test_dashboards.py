"""The dashboards are what Grafana's own types hold, and ask only for what the services export."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from freehold_observe.dashboards import dashboards
from freehold_observe.metrics import metrics
from freehold_observe.sources import CHECKOUT

METRIC = re.compile(r"\bfreehold_\w+")
RECORDED = re.compile(r"\bslo:[\w:]+")
RULES = "".join(file.read_text() for file in (CHECKOUT / "deploy/prometheus/rules").glob("*.yml"))
KNOWN = {series for metric in metrics() for series in metric.series}

each_dashboard = pytest.mark.parametrize("file", dashboards(), ids=lambda file: file.stem)


def panels(file: Path) -> list[dict[str, Any]]:
    document = json.loads((CHECKOUT / file).read_text())
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def expressions(file: Path) -> Iterator[str]:
    for panel in panels(file):
        yield from (target["expr"] for target in panel["targets"])


@each_dashboard
def test_a_dashboard_is_one_of_grafanas_schema(file: Path) -> None:
    register_default_plugins()
    document = json.loads((CHECKOUT / file).read_text())
    again = json.dumps(Dashboard.from_json(document), cls=JSONEncoder)
    assert json.loads(again) == document


@each_dashboard
def test_every_panel_says_what_it_shows(file: Path) -> None:
    for panel in panels(file):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]


@each_dashboard
def test_a_dashboard_asks_for_metrics_that_there_are(file: Path) -> None:
    for expression in expressions(file):
        assert set(METRIC.findall(expression)) <= KNOWN, expression
        for name in RECORDED.findall(expression):
            assert f"record: {name}\n" in RULES, expression


def test_the_rules_ask_for_metrics_that_there_are() -> None:
    assert set(METRIC.findall(RULES)) <= KNOWN
