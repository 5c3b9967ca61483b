"""The services export the metrics of the guide, named by Prometheus's conventions."""

import asyncio
import re

import pytest

from freehold_observe.metrics import metrics
from freehold_observe.sources import SERVICES, SHARED
from support.clients import Freehold
from support.promtool import promtool

FAMILY = re.compile(r"^# TYPE (freehold_\w+) (\w+)$", re.MULTILINE)
# In this format an info is written as a gauge; and when a series began, as one of its own.
WRITTEN = {"info": "gauge"}
BEGINNING = "_created"

pytestmark = [
    pytest.mark.local,
    pytest.mark.parametrize("service", [name for name in SERVICES if name != SHARED]),
]


async def exported(freehold: Freehold, service: str) -> str:
    url = getattr(freehold.addresses, service.replace("-", "_"))
    return (await freehold.ask("GET", f"{url}/metrics")).text


async def test_the_guide_lists_what_is_exported(freehold: Freehold, service: str) -> None:
    families = {
        (name, kind)
        for name, kind in FAMILY.findall(await exported(freehold, service))
        if not name.endswith(BEGINNING)
    }
    listed = {
        owner: {(m.name, WRITTEN.get(m.type, m.type)) for m in metrics() if m.service == owner}
        for owner in (SHARED, service)
    }
    assert families - listed[SHARED] == listed[service]


async def test_names_keep_to_the_conventions(freehold: Freehold, service: str) -> None:
    text = await exported(freehold, service)
    checked = await asyncio.to_thread(promtool, "check", "metrics", text=text)
    complaints = [line for line in checked.stderr.splitlines() if "freehold_" in line]
    assert complaints == [], checked.stderr
