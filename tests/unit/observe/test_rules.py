"""The alerts' rules fire when they should and only then, and each has its runbook."""

import re
from pathlib import Path

import pytest

from support.promtool import promtool

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = sorted(PROMETHEUS.glob("rules/*.yml"))
GUIDE = "services/guides/alerts.md"

ALERT = re.compile(r"^ +- alert: (\w+)$", re.MULTILINE)
RUNBOOK = re.compile(r"^ +runbook: (\S+)$", re.MULTILINE)
HEADING = re.compile(r"^### (\w+)$", re.MULTILINE)
STEPS = re.compile(r"^- \*\*(Means|See|See, do|Do):\*\* ", re.MULTILINE)
FIRES = re.compile(r'exp_samples: \[.*alertname="(\w+)"|- \{labels: .*alertname="(\w+)"')


def alerts() -> list[str]:
    return [name for file in RULES for name in ALERT.findall(file.read_text())]


def test_prometheus_accepts_its_settings_and_rules() -> None:
    checked = promtool("check", "config", PROMETHEUS / "prometheus.yml")
    assert checked.returncode == 0, checked.stderr
    assert len(alerts()) == len(set(alerts())) > 15


@pytest.mark.parametrize("file", sorted(HERE.glob("*.yml")), ids=lambda file: file.stem)
def test_rules_say_what_is_expected(file: Path) -> None:
    tested = promtool("test", "rules", file)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_is_seen_to_fire() -> None:
    texts = "".join(file.read_text() for file in HERE.glob("*.yml"))
    fired = {name for names in FIRES.findall(texts) for name in names if name}
    assert set(alerts()) == fired


def test_every_alert_has_a_runbook_and_every_runbook_its_alert() -> None:
    _, *sections = re.split(r"^(?=#{2,3} )", (ROOT / GUIDE).read_text(), flags=re.MULTILINE)
    runbooks = {
        heading[1]: set(STEPS.findall(section))
        for section in sections
        if (heading := HEADING.match(section))
    }
    assert set(runbooks) == set(alerts())
    whole = ({"Means", "See", "Do"}, {"Means", "See, do"})
    assert [name for name, steps in runbooks.items() if steps not in whole] == []
    named = [name for file in RULES for name in RUNBOOK.findall(file.read_text())]
    assert named == [f"{GUIDE}#{name.lower()}" for name in alerts()]
