"""The page of settings has each setting of each service, with the default that holds."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from freehold.settings import PREFIX, ServiceSettings, TenantSettings
from freehold_ingest.settings import Settings as IngestSettings
from freehold_projector.settings import Settings as ProjectorSettings
from freehold_query.settings import Settings as QuerySettings
from freehold_tenant_manager.settings import Settings as TenantManagerSettings

PAGE = (Path(__file__).resolve().parents[2] / "services/guides/settings.md").read_text()
ROW = re.compile(r"^\| (`FREEHOLD_.+?) \| (.*?) ?\| .+ \|$", re.MULTILINE)
SECTIONS: dict[str, tuple[type[ServiceSettings], type[ServiceSettings] | None]] = {
    "Every service": (ServiceSettings, None),
    "ingest, projector and query": (TenantSettings, ServiceSettings),
    "ingest": (IngestSettings, TenantSettings),
    "projector": (ProjectorSettings, TenantSettings),
    "query": (QuerySettings, TenantSettings),
    "tenant-manager": (TenantManagerSettings, ServiceSettings),
}


def documented(heading: str) -> dict[str, str]:
    """Give the defaults of a section, by the settings' fields."""
    _, _, section = PAGE.partition(f"\n## {heading}\n")
    return dict(_rows(section.partition("\n## ")[0]))


def _rows(section: str) -> Iterator[tuple[str, str]]:
    for names, default in ROW.findall(section):
        fields = [name.strip(" `").removeprefix(PREFIX).lower() for name in names.split(",")]
        defaults = [part.strip(" `") for part in default.split(",")]
        yield from zip(
            fields, defaults if len(defaults) > 1 else defaults * len(fields), strict=True
        )


def fits(field: FieldInfo, shown: str) -> bool:
    if field.is_required():
        # A port is required of the library, and each service has its own.
        return shown in {"required", "the service's own"}
    if isinstance(field.default, int | float):
        return float(shown) == field.default
    # What stands in words is what the setting's absence means.
    return field.default is None or str(field.default) == shown or shown == "none"


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_setting_is_on_the_page_with_its_default(heading: str) -> None:
    own, inherited = SECTIONS[heading]
    fields = own.model_fields
    known = set() if inherited is None else set(inherited.model_fields)
    shown = documented(heading)
    assert set(shown) == {name for name in fields if name not in known}
    assert {n: d for n, d in shown.items() if not fits(fields[n], d)} == {}
