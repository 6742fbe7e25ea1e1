from __future__ import annotations

import gzip
import itertools
import json
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossrank.errors import InputError
from crossrank.train.records import Record, Source, as_row, mix, read_record, read_records

WORDS = st.text(min_size=1, max_size=20).filter(str.strip)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=64)


@st.composite
def records(draw):
    documents = draw(st.lists(WORDS, min_size=1, max_size=4))
    each = st.lists(NUMBERS, min_size=len(documents), max_size=len(documents))
    labels, scores = draw(each | st.just([])), draw(each)
    return draw(WORDS), tuple(documents), tuple(labels), tuple(scores)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def queries(path, names):
    return write(path, [{"query": name, "document": "d", "label": 1} for name in names])


def taken(stream, count):
    return list(itertools.islice(stream, count))


@pytest.mark.parametrize(
    ("row", "documents", "labels", "scores"),
    [
        ({"document": "a", "label": True}, ("a",), (1,), ()),
        ({"document": {"text": "a", "title": "T"}, "label": 0.5}, ("T\na",), (0.5,), ()),
        ({"positive": "a"}, ("a",), (1,), ()),
        ({"positive": "a", "negative": "b"}, ("a", "b"), (1, 0), ()),
        ({"positive": "a", "negatives": ["b", "c"], "id": 7}, ("a", "b", "c"), (1, 0, 0), ()),
        ({"positives": ["a", "b"], "negatives": []}, ("a", "b"), (1, 1), ()),
        ({"positive": ["a", "b"], "negative": "c"}, ("a", "b", "c"), (1, 1, 0), ()),
        ({"documents": ["a", "b"], "labels": [2, 0]}, ("a", "b"), (2, 0), ()),
        ({"documents": ["a", "b"], "scores": [1.5, -2]}, ("a", "b"), (), (1.5, -2)),
        ({"documents": ["a"], "scores": [1], "labels": [3]}, ("a",), (3,), (1,)),
        ({"documents": [{"name": "t", "columns": ["c"]}], "labels": [1]}, ("CREATE TABLE t (c);",), (1,), ()),
    ],
)
def test_every_shape_is_read(row, documents, labels, scores):
    assert read_record({"query": "q", **row}, "here") == Record("q", documents, labels, scores)


@given(records())
def test_a_record_that_is_written_is_read_back(parts):
    record = Record(*parts)
    assert read_record(json.loads(json.dumps(as_row(record))), "here") == record


def test_documents_alone_are_read_only_where_a_teacher_asks():
    row = {"query": "q", "documents": ["a"]}
    assert read_record(row, "here", unlabelled=True) == Record("q", ("a",))
    with pytest.raises(InputError, match="`crossrank teach` adds scores"):
        read_record(row, "here")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "not JSON: Expecting property name"),
        ("[" * 100_000, "nested too deeply"),
        ('["q", "d", 1]', "a record is an object, not a list"),
        ('{"query": "q", "document": "d", "label": NaN}', "NaN is no JSON number"),
        ('{"query": "q", "document": "d", "label": 1e999}', '"label" should be a finite number'),
        ('{"query": "q", "document": "d", "label": "1"}', '"label" should be a finite number, not "1"'),
        ('{"query": "q", "document": "d"}', "no record has just these keys"),
        ('{"query": "q", "text": "d", "label": 1}', 'no record has just these keys: "query", "text", "label"'),
        ('{"query": "q", "positive": "d", "documents": ["d"]}', "no record has just these keys"),
        ('{"query": "q", "negatives": ["d"]}', "no record has just these keys"),
        ('{"document": "d", "label": 1}', 'no record has just these keys: "document", "label". A line is {"query"'),
        ('{"query": null, "document": "d", "label": 1}', '"query" should be a string, not null'),
        ('{"query": 3, "document": "d", "label": 1}', '"query" should be a string, not a number'),
        ('{"query": " ", "document": "d", "label": 1}', '"query" is blank'),
        ('{"query": "q", "document": "", "label": 1}', '"document" is blank'),
        ('{"query": "q", "document": {}, "label": 1}', '"document" is an empty object'),
        ('{"query": "q", "document": {"text": 3}, "label": 1}', '"document": "text" should be a string'),
        ('{"query": "q", "documents": "d", "labels": [1]}', '"documents" should be a list'),
        ('{"query": "q", "documents": [], "labels": []}', '"documents" is an empty list'),
        ('{"query": "q", "documents": ["a", null], "labels": [1, 0]}', '"documents[1]": a document should be'),
        ('{"query": "q", "documents": ["a", "b"], "labels": [1]}', '"labels" should be a list of 2 numbers'),
        ('{"query": "q", "documents": ["a"], "scores": [null]}', '"scores[0]" should be a finite number, not null'),
    ],
)
def test_a_line_that_is_no_record_is_named(tmp_path, line, complaint):
    path = tmp_path / "data.jsonl"
    path.write_text('{"query": "q", "document": "d", "label": 1}\n\n' + line + "\n")
    with pytest.raises(InputError) as caught:
        list(read_records(path))
    assert str(caught.value).startswith(f"{path}:3: ")
    assert complaint in str(caught.value)


def test_a_gzipped_file_that_ends_early_is_an_input_error(tmp_path):
    whole = gzip.compress(b'{"query": "q", "document": "d", "label": 1}\n' * 1000)
    (tmp_path / "a.jsonl.gz").write_bytes(whole)
    assert len(list(read_records(tmp_path / "a.jsonl.gz"))) == 1000
    (tmp_path / "b.jsonl.gz").write_bytes(whole[:-20])
    with pytest.raises(InputError, match=r"b\.jsonl\.gz cannot be read"):
        list(read_records(tmp_path / "b.jsonl.gz"))


@settings(max_examples=30)
@given(size=st.integers(1, 40), buffer=st.integers(1, 50), seed=st.integers(), rounds=st.integers(1, 3))
def test_a_source_gives_every_record_once_before_one_comes_again(tmp_path_factory, size, buffer, seed, rounds):
    names = [str(n) for n in range(size)]
    path = queries(tmp_path_factory.mktemp("mix") / "a.jsonl", names)
    stream = mix([Source(path)], seed, buffer=buffer)
    for _ in range(rounds):
        assert sorted(record.query for record in taken(stream, size)) == sorted(names)


@settings(max_examples=20)
@given(weights=st.lists(st.floats(0.05, 20), min_size=1, max_size=4), seed=st.integers())
def test_sources_are_drawn_as_often_as_their_weights_say(tmp_path_factory, weights, seed):
    folder = tmp_path_factory.mktemp("mix")
    sources = [Source(queries(folder / f"{n}.jsonl", [str(n)] * 50), weight) for n, weight in enumerate(weights)]
    draws = 2000
    met = Counter(record.query for record in taken(mix(sources, seed), draws))
    for n, weight in enumerate(weights):
        share = weight / sum(weights)
        assert abs(met[str(n)] - draws * share) <= 6 * math.sqrt(draws * share * (1 - share)) + 1


@settings(max_examples=30)
@given(skip=st.integers(0, 120), seed=st.integers(), buffer=st.integers(1, 20))
def test_a_stream_that_skips_ahead_goes_on_as_if_it_had_never_stopped(tmp_path_factory, skip, seed, buffer):
    folder = tmp_path_factory.mktemp("mix")
    sources = [Source(queries(folder / "a.jsonl", "abcdefg"), 2), Source(queries(folder / "b.jsonl", "xyz"))]
    whole = taken(mix(sources, seed, buffer=buffer), skip + 30)
    assert taken(mix(sources, seed, buffer=buffer, skip=skip), 30) == whole[skip:]


def test_another_seed_gives_another_order(tmp_path):
    source = Source(queries(tmp_path / "a.jsonl", [str(n) for n in range(50)]))
    assert taken(mix([source], 1), 50) == taken(mix([source], 1), 50) != taken(mix([source], 2), 50)


def test_a_bad_line_in_a_mix_is_named_when_it_is_drawn(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"query": "q", "document": "d", "label": 1}, {"query": "q"}])
    with pytest.raises(InputError, match=r"a\.jsonl:2: no record"):
        taken(mix([Source(path)], 0), 2)


def test_a_mix_of_nothing_is_refused_rather_than_endless(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(InputError, match="has no records"):
        next(mix([Source(tmp_path / "empty.jsonl")], 0))
    with pytest.raises(InputError, match="at least one source"):
        next(mix([], 0))


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_a_weight_is_above_zero(tmp_path, weight):
    with pytest.raises(InputError, match="a weight should be a number above 0"):
        Source(tmp_path / "a.jsonl", weight)
