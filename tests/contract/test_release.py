"""A release has one version, and every part of it says so."""

import json
import re
import tomllib
from pathlib import Path

from freehold.release import COMMIT_FILE, this_release

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted(
    path
    for pattern in ("shared", "services/*", "services/clients/*", "deploy/*")
    for path in ROOT.glob(f"{pattern}/pyproject.toml")
)
MODULES = sorted(ROOT.glob("services/clients/*/package.json"))
DOCUMENTS = sorted(ROOT.glob("services/clients/*.json"))
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text()


def test_every_package_has_the_release_s_version() -> None:
    versions = {
        **{str(path): tomllib.loads(path.read_text())["project"]["version"] for path in PACKAGES},
        **{str(path): json.loads(path.read_text())["version"] for path in MODULES},
        **{str(path): json.loads(path.read_text())["info"]["version"] for path in DOCUMENTS},
    }
    assert len(PACKAGES) > 6
    assert {p: v for p, v in versions.items() if v != this_release().version} == {}


def test_images_are_labelled_with_it() -> None:
    (default,) = re.findall(r"^ARG VERSION=(.+)$", DOCKERFILE, re.MULTILINE)
    assert default == this_release().version
    # Where the build writes the commit, the package looks for it.
    assert f"shared/src/freehold/{COMMIT_FILE}" in DOCKERFILE


def test_the_changelog_says_what_is_in_it() -> None:
    headings = re.findall(r"^## \[(.+?)\](?: - \d{4}-\d\d-\d\d)?$", CHANGELOG, re.MULTILINE)
    assert headings[:2] == ["Unreleased", this_release().version]
