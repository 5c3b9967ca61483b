"""Dashboards for Grafana, built by its own SDK."""

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from freehold_observe.dashboards.installation import installation
from freehold_observe.dashboards.services import services
from freehold_observe.dashboards.tenants import tenants

FOLDER = Path("deploy/grafana/dashboards")
_DASHBOARDS = {"installation": installation, "services": services, "tenants": tenants}


def dashboards() -> dict[Path, str]:
    """Write the dashboards as Grafana reads them, by their files from the top of the checkout."""
    return {
        FOLDER / f"{name}.json": json.dumps(build().build(), cls=JSONEncoder, indent=2) + "\n"
        for name, build in _DASHBOARDS.items()
    }
