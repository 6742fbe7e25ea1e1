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
        ("हिन्दी भाषा में", ["हिन्दी", "भाषा", "में"]),
        ("การเรียนรู้", ["กา", "าร", "รเ", "เร", "รี", "ีย", "ยน", "นร", "รู", "ู้"]),
        ("مُدَرِّس في", ["مُدَرِّس", "في"]),
        ("re\u0301sume\u0301 r\u00e9sum\u00e9", ["r\u00e9sum\u00e9", "r\u00e9sum\u00e9"]),
        ("snake_case__x", ["snake", "case", "x"]),
    ],
)
def test_words_are_lowered_stopped_and_paired_where_there_are_no_spaces(text, expected):
    assert words(text) == expected


@given(st.text())
def test_any_text_has_words_without_blanks(text):
    assert all(word and not word.isspace() for word in words(text))
