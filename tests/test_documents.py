"""What the documents show is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.shown import DOCUMENTS, ROOT, Example, examples, printed

EXAMPLES = [example for document in DOCUMENTS for example in examples(document)]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "recipes").rglob("*.md")])
NUMBER = re.compile(r"-?\d+\.\d+")
VARIES = re.compile(r"[█▏▎▍▌▋▊▉]+|\d+\.\d+ s\b")  # the bar beside a score, and the time it took


def label(value: object) -> str:
    match value:
        case Example(document=document, code=code):
            return f"{document.name}: {code.splitlines()[0]}"
        case Path():
            return value.relative_to(ROOT).as_posix()
    return str(value)


def test_the_readme_shows_python_and_the_command_line():
    assert {example.language for example in EXAMPLES if example.document.name == "README.md"} == {"python", "sh"}


@pytest.mark.parametrize("example", EXAMPLES, ids=label)
def test_an_example_prints_what_its_document_shows(example):
    """Word for word; decimals as near as processors agree."""
    met = VARIES.sub("", printed(example.language, example.code))
    shown = VARIES.sub("", example.output)
    assert NUMBER.sub("#", met).split() == NUMBER.sub("#", shown).split()
    wanted = [float(number) for number in NUMBER.findall(shown)]
    assert [float(number) for number in NUMBER.findall(met)] == pytest.approx(wanted, abs=0.006)


@pytest.mark.parametrize("page", PAGES, ids=label)
def test_every_link_between_documents_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{label(page)} links to {target}"
