"""What the documents name is there: tests, modules and what is defined in them, files, headings."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "src/nano4m_audio"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
#: `acquire/child.py` (`Child`, `Limits`)
DEFINED = re.compile(r"`([\w/]+\.py)` \(((?:`\w+`(?:, )?)+)\)")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#([\w-]+))?\)")


@cache
def defined(path: Path) -> set[str]:
    """The functions and classes of a file, on its top level."""
    kinds = ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, kinds)}


def rows(name: str) -> list[str]:
    """The rows of all tables of a page of docs/, without their heads."""
    lines = (ROOT / "docs" / name).read_text().splitlines()
    after = zip(lines, lines[1:], strict=False)
    heads = {line for line, following in after if following.startswith("|---")}
    return [
        line for line in lines
        if line.startswith("|") and not line.startswith("|---") and line not in heads
    ]  # fmt: skip


def test_every_fault_names_tests_that_exist():
    table = rows("RELIABILITY.md")
    assert len(table) > 40
    for row in table:
        assert (named := TEST.findall(row)), row
        for file, test in named:
            assert (ROOT / file).is_file(), file
            assert test in defined(ROOT / file), f"{file}::{test}"
    assert "tests/" not in TEST.sub("", "\n".join(table))


def test_every_boundary_names_code_that_exists():
    table = rows("SECURITY.md")
    assert len(table) > 8
    for row in table:
        found = [(file, re.findall(r"\w+", names)) for file, names in DEFINED.findall(row)]
        assert found, row
        for file, names in found:
            assert set(names) <= defined(PACKAGE / file), (file, names)
        assert len(re.findall(r"`[\w/]+\.py`", row)) == len(DEFINED.findall(row)), row


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target, anchor in LINK.findall(page.read_text()):
        if "://" in target:
            continue
        path = page.parent / target
        assert path.exists(), target
        titles = re.findall(r"^#+ (.+)$", path.read_text(), re.M) if anchor else []
        assert not anchor or anchor in {re.sub(r"\W+", "-", t.lower()) for t in titles}, anchor


def test_the_picture_is_small():
    assert 10_000 < (ROOT / "docs/report.png").stat().st_size < 300_000


def test_sections_that_are_named_exist():
    """`[docs/X.md](docs/X.md), "At a wall"` names a heading of that page."""
    named = re.compile(r"\]\(([\w/.]+\.md)\),? \"([^\"]+)\"")
    found = [(page, *match) for page in PAGES for match in named.findall(page.read_text())]
    assert found
    for page, target, title in found:
        headings = re.findall(r"^#+ (?:\d+\. )?(.+)$", (page.parent / target).read_text(), re.M)
        assert any(title in heading for heading in headings), (page.name, target, title)
