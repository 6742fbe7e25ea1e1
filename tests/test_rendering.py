from __future__ import annotations

import pytest

from crossrank.rendering import render, render_document


@pytest.mark.parametrize(
    ("title", "text", "expected"),
    [
        ("Title", "body", "Title\nbody"),
        ("  ", "body", "body"),
        ("", {"table": "singer", "columns": [{"name": "age", "type": "NUMBER"}, "name"]},
         "CREATE TABLE singer (age NUMBER, name);"),
        ("", {"name": "f", "parameters": {"ü": 1}}, '{"name": "f", "parameters": {"ü": 1}}'),
    ],
)  # fmt: skip
def test_a_table_is_read_as_its_schema_and_a_function_as_json(title, text, expected):
    assert render(title, text) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("words", "words"),
        ({"text": "words"}, "words"),
        ({"_id": "1", "title": "Title", "text": "words"}, "Title\nwords"),
        ({"text": {"name": "singer", "columns": ["age"]}}, "CREATE TABLE singer (age);"),
        ({"name": "weather", "parameters": {}}, '{"name": "weather", "parameters": {}}'),
    ],
)
def test_a_document_is_read_from_a_string_a_text_or_a_schema(value, expected):
    assert render_document(value) == expected


@pytest.mark.parametrize("value", [None, 3, ["words"], {"text": 3}, {"text": "words", "title": 3}])
def test_anything_else_is_no_document(value):
    with pytest.raises(TypeError, match="should be a string"):
        render_document(value)
