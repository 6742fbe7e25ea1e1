from __future__ import annotations

import gzip

import pytest

from crossrank.errors import InputError
from crossrank.lines import json_objects, numbered


def test_lines_are_numbered_as_editors_do_and_blank_ones_are_passed_over(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_bytes(b"\xef\xbb\xbfone\r\n\r\nthree\n")
    assert list(numbered(path)) == [(1, "one"), (3, "three")]


def test_a_gzipped_file_reads_like_a_plain_one(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"a": 1}\n'))
    assert list(numbered(path)) == [(1, '{"a": 1}')]


def test_every_bad_line_is_named_at_once(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"_id": "1"}\nnot json\n[]\n{"other": 2}\n')
    with pytest.raises(InputError) as caught:
        json_objects(path, lambda row: row["_id"])
    complaint = str(caught.value)
    assert f"{path}:2: Expecting value" in complaint
    assert f"{path}:3: expected an object, not list" in complaint
    assert f"{path}:4: no '_id'" in complaint
    assert ":1:" not in complaint


def test_after_ten_bad_lines_the_rest_is_counted(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("x\n" * 25)
    with pytest.raises(InputError, match="and 15 more bad lines"):
        json_objects(path, print)


def test_what_is_not_utf8_or_not_there_is_an_input_error(tmp_path):
    (tmp_path / "latin").write_bytes(b"caf\xe9\n")
    for name in ("latin", "absent"):
        with pytest.raises(InputError, match=name):
            list(numbered(tmp_path / name))
