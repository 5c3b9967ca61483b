"""Every link from a page to another, or to a heading, leads there, and so do names of tests."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("services", "shared", "deploy", "tests")
PAGES = sorted(
    page.relative_to(ROOT)
    for page in [*ROOT.glob("*.md"), *(p for f in FOLDERS for p in (ROOT / f).rglob("*.md"))]
    if "node_modules" not in page.parts
)
FENCED = re.compile(r"^( *)(```+|~~~+).*?^\1\2[`~]*$", re.MULTILINE | re.DOTALL)
IN_CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
NOT_IN_ANCHORS = re.compile(r"[^\w\- ]")
TEST = re.compile(r"`((?:tests/)?(?:bench|contract|e2e|faults|integration|unit)/[\w/]+\.py)`")
ELSEWHERE = re.compile(r"^[a-z]+:")


def prose(page: Path) -> str:
    return FENCED.sub("", (ROOT / page).read_text())


def anchors(page: Path) -> set[str]:
    """Give the headings' anchors, as the sites that show Markdown make them."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in HEADING.findall(prose(page)):
        words = LINK.sub("]", heading).replace("`", "")
        anchor = NOT_IN_ANCHORS.sub("", words.lower()).replace(" ", "-")
        found.add(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
        seen[anchor] += 1
    return found


def dead_links(page: Path) -> Iterator[str]:
    for link in LINK.findall(IN_CODE.sub("", prose(page))):
        if ELSEWHERE.match(link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists():
            yield f"{link}: there is no such file"
        elif anchor and anchor not in anchors(target.resolve().relative_to(ROOT)):
            yield f"{link}: there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert list(dead_links(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    named = {name.removeprefix("tests/") for name in TEST.findall((ROOT / page).read_text())}
    assert {name for name in named if not (ROOT / "tests" / name).is_file()} == set()
