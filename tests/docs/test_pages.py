"""The pages as such: links lead somewhere, and nothing in them belongs to one machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import KINDS, ROOT, Snippet, pages, prose, snippets

LONGEST_LINE = 100
# Folders of somebody's machine; hosts in examples come from those that are set aside for examples.
PRIVATE = re.compile(r"(?<![\w.-])/(work|root|home|Users|tmp|var)/")
HOSTS = {
    "keepachangelog.com",
    "semver.org",
    "registry.company.com",
    "registry.example.com",
}


def links(page: Path) -> Iterator[str]:
    yield from re.findall(r"\]\(([^)]+)\)", prose(page))


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    for link in links(page):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(target), link


def test_every_page_can_be_found_from_the_readme():
    seen: set[Path] = set()
    open_ = [ROOT / "README.md"]
    while open_:
        page = open_.pop()
        if page in seen:
            continue
        seen.add(page)
        found = (page.parent / link.partition("#")[0] for link in links(page) if "://" not in link)
        open_ += [path.resolve() for path in found if path.suffix == ".md"]
    assert {page.resolve() for page in pages()} <= seen


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_begins_with_its_title_and_has_no_overlong_lines(page: Path):
    lines = page.read_text("utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert sum(line.startswith("# ") for line in prose(page).splitlines()) == 1
    free = [line for line in prose(page).splitlines() if "|" not in line]
    assert [line for line in free if len(line) > LONGEST_LINE] == []
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_nothing_belongs_to_one_machine(page: Path):
    text = page.read_text("utf-8")
    assert PRIVATE.findall(text) == []
    hosts = set(re.findall(r"https?://([\w.-]+)", text))
    hosts |= set(re.findall(r"\b(?:[a-z0-9-]+\.)+(?:com|org|io|dev|net)(?=/[a-z])", prose(page)))
    assert hosts <= HOSTS | {"sidecar.istio.io", "zerotrust.dev"}


def test_every_snippet_is_of_a_kind_that_is_tested():
    assert [s.id for s in snippets() if s.kind not in KINDS] == []


@pytest.mark.parametrize("snippet", snippets(), ids=lambda snippet: snippet.id)
def test_a_snippet_is_not_empty_and_has_no_prompt(snippet: Snippet):
    assert snippet.text.strip()
    assert not snippet.text.startswith("$ ")
