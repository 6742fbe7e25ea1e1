"""The table for people."""

from __future__ import annotations

import pytest

from crossrank.cli.table import bar, clean, print_hits
from crossrank.ranking import Hit


@pytest.mark.parametrize(
    ("score", "cells"),
    [(0.0, ""), (1.0, "█" * 10), (0.5, "█" * 5), (0.8625, "█" * 8 + "▋"), (-0.2, ""), (1.5, "█" * 10)],
)
def test_a_bar_is_as_long_as_its_score(score, cells):
    assert bar(score) == cells


def test_control_characters_of_a_document_do_not_reach_the_terminal():
    assert clean("red\x1b[31m\n\tfox\x07\u202e") == "red [31m fox  "


def test_a_row_has_rank_index_score_and_where_the_best_window_begins(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    texts = ["[bold]short[/bold]", "x" * 100 + "the best part" + "y" * 500]
    hits = [
        Hit(index=1, score=0.75, document=None, logit=1.1, windows=3, span=(100, 300), tokens=9),
        Hit(index=0, score=0.25, document=None, logit=-1.1, windows=1, span=(0, 18), tokens=9),
    ]
    print_hits(hits, texts)
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split() == ["rank", "index", "score", "document"]
    assert first.split()[:3] == ["1", "1", "0.750"]
    assert "… the best partyyy" in first
    assert first.rstrip().endswith("…")
    assert second.split() == ["2", "0", "0.250", "██▌", "[bold]short[/bold]"]


def test_probabilities_stand_in_place_of_scores(capsys):
    hit = Hit(index=0, score=0.25, document=None, logit=-1.1, windows=1, span=(0, 3), tokens=9)
    print_hits([hit], ["fox"], [0.5])
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["rank", "index", "probability", "document"]
    assert row.split() == ["1", "0", "0.500", "█████", "fox"]
