from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrank.words import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Blue-Whale, 30m!", ["blue", "whale", "30m"]),
        ("東大寺の仏像", ["東大", "大寺", "寺の", "の仏", "仏像"]),
        ("iPhone用ケース", ["iphone", "用ケ", "ケー", "ース"]),
        ("寺", ["寺"]),
        ("", []),
    ],
)
def test_words_are_lowered_stopped_and_paired_where_there_are_no_spaces(text, expected):
    assert words(text) == expected


@given(st.text())
def test_any_text_has_words_without_blanks(text):
    assert all(word and not word.isspace() for word in words(text))
