"""The site: every page is in the summary and in llms.txt, and no link leads nowhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if page.name != "SUMMARY.md")
LINK = re.compile(r"(?<!`)\[[^\]\n]*\]\(([^)\s]+)\)")


def links(page: Path) -> list[str]:
    """Where the links of a page lead, those in code left out."""
    text = re.sub(r"^```.*?^```$|^    [^\n]*$|`[^`\n]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return LINK.findall(text)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and mdBook make them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.strip().lower())
        found.add(plain.replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", [*PAGES, DOCS / "SUMMARY.md", DOCS / "llms.txt", ROOT / "README.md"], ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{page.name}: {link}"
        if page.is_relative_to(DOCS):
            assert target.is_relative_to(DOCS), f"{page.name}: {link} is not part of the site"


def test_every_page_is_in_the_summary_and_for_programs_too() -> None:
    for list_of in ("SUMMARY.md", "llms.txt"):
        listed = {(DOCS / link).resolve() for link in links(DOCS / list_of)}
        missing = [
            page
            for page in PAGES
            if page not in listed and not (list_of == "llms.txt" and page.parent.name == "cli") and page.stem != "introduction"
        ]
        assert not missing, f"{list_of}: {missing}"
