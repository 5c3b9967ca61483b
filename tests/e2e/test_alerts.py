"""What the guide on alerts has people rely on."""

import re

import pytest

from support.clients import Freehold
from support.guides import guide

METRIC = re.compile(r"`(freehold_\w+)(?:{[^`]*})?`")
FAMILY = re.compile(r"^# TYPE (\w+) ", re.MULTILINE)


@pytest.mark.local
async def test_every_metric_to_alert_on_is_there(freehold: Freehold) -> None:
    named = {name.removesuffix("_count") for name in METRIC.findall(guide("alerts", {}))}
    assert len(named) > 15
    addresses = freehold.addresses
    services = (addresses.tenant_manager, addresses.ingest, addresses.query, addresses.projector)
    shown = {
        family
        for service in services
        for family in FAMILY.findall((await freehold.ask("GET", f"{service}/metrics")).text)
    }
    assert named - shown == set()
