"""People's words: each shape that is read, and how each other one is refused."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from crossrank import InputError, Pair, Text
from crossrank.inputs import read_documents, read_pair, read_side
from tests.checkpoints import tiny


@pytest.mark.parametrize(
    "value", ["fox", {"text": "fox"}, {"text": "fox", "id": 7}, MappingProxyType({"text": "fox"}), Text("fox")]
)
def test_a_side_is_a_string_or_holds_one(value):
    assert read_side(value) == Text("fox")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "not NoneType"),
        (7, "not int"),
        (b"fox", "not bytes"),
        (["fox"], "not list"),
        ({}, 'string under "text"; this one has no keys'),
        ({"text": None, "body": "fox"}, "this one has 'text', 'body'"),
        ({"text": ["fox"]}, 'string under "text"'),
    ],
)
def test_anything_else_is_refused_by_name(value, words):
    with pytest.raises(InputError, match=f"^here: .*{words}"):
        read_side(value, "here")


def test_the_first_bad_document_is_named():
    with pytest.raises(InputError, match=r"documents\[2\]: .*not int"):
        read_documents(["a", {"text": "b"}, 3, None])


@pytest.mark.parametrize("value", ["one document", b"x", {"text": "x"}, {"a", "b"}, None, 3, (c for c in "ab")])
def test_documents_that_are_no_list_are_refused(value):
    with pytest.raises(InputError, match=f"expected a list of strings or objects, not {type(value).__name__}"):
        read_documents(value)


@pytest.mark.parametrize(
    "value",
    [("q", "d"), ["q", "d"], {"query": "q", "document": "d"}, ({"text": "q"}, Text("d")), Pair(Text("q"), Text("d"))],
)
def test_a_pair_is_two_sides(value):
    assert read_pair(value) == Pair(Text("q"), Text("d"))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("qd", r"pairs\[1\]: expected \(query, document\), not str"),
        (("q",), r"pairs\[1\]: expected \(query, document\), not tuple"),
        (("q", "d", "e"), r"pairs\[1\]: expected"),
        (("q", 3), r"pairs\[1\].document: .*not int"),
        ({"query": "q"}, r"pairs\[1\]: .*document missing"),
        ({}, r"pairs\[1\]: .*query and document missing"),
    ],
)
def test_a_bad_pair_is_named(value, words):
    with pytest.raises(InputError, match=words):
        read_pair(value, "pairs[1]")


def test_a_lone_surrogate_is_read_as_the_replacement_character():
    assert Text("a\ud83db\udc00") == Text("a\ufffdb\ufffd")
    assert Text("🙂") == Text("\U0001f642")


def test_the_callers_documents_come_back_untouched():
    documents = [{"text": "a fox", "id": 1}, "b \ud800", Text("c")]
    ranking = tiny("bert").rank("fox", documents)
    assert all(hit.document is documents[hit.index] for hit in ranking)
