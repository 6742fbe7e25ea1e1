"""Files and standard input, line by line."""

from __future__ import annotations

import io

import pytest

from crossrank import InputError
from crossrank.cli.reading import Format, Line, Source, opened, parsed, read_documents


def source(data: bytes) -> Source:
    return Source("in", io.BytesIO(data), None)


def documents(data: bytes, form: Format = Format.auto) -> list:
    return read_documents(source(data), form)


def test_a_line_is_a_document_and_blank_lines_count_for_nothing():
    assert documents(b"one\n\n  \t\ntwo\r\n three ") == ["one", "two", " three "]


def test_blank_lines_keep_the_line_numbers():
    assert [line.where for line in source(b"one\n\ntwo\n")] == ["in:1", "in:3"]


def test_a_byte_order_mark_is_dropped():
    assert documents(b"\xef\xbb\xbfone\ntwo\n") == ["one", "two"]
    assert documents(b'\xef\xbb\xbf{"text": "one"}\n') == [{"text": "one"}]
    assert documents(b"\xef\xbb\xbf\none\n") == ["one"]


@pytest.mark.parametrize("text", ["\ufefb", "\ufefb\ufefb", "\uffbb", "\ufeff"])
def test_a_line_of_bytes_that_a_byte_order_mark_has_is_a_document(text):
    assert documents(f"one\n{text}\ntwo\n".encode()) == ["one", text, "two"]


def test_every_line_beginning_as_json_makes_it_jsonl():
    assert documents(b'{"text": "one"}\n\n "two"\n') == [{"text": "one"}, "two"]


def test_one_line_that_does_not_makes_it_lines():
    assert documents(b'"quoted"\nplain\n') == ['"quoted"', "plain"]


def test_the_format_can_be_told():
    assert documents(b'"one"\n', Format.lines) == ['"one"']
    with pytest.raises(InputError, match="in:1: not JSON: Expecting value at column 1$"):
        documents(b"plain\n", Format.jsonl)


def test_a_guess_that_fails_says_that_it_was_one_and_how_to_tell():
    with pytest.raises(InputError, match=r"in:2: not JSON: .*--format lines reads them as text"):
        documents(b'"a"\n"b" she said\n')


@pytest.mark.parametrize(
    ("line", "kind"), [(b"1", "a number"), (b"[1]", "a list"), (b"null", "null"), (b"true", "true")]
)
def test_other_json_is_no_document(line, kind):
    with pytest.raises(InputError, match=f"in:2: a document is a JSON string or object, not {kind}"):
        documents(b'"a"\n' + line + b"\n", Format.jsonl)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"a\0b", "in:7: a NUL byte, so this is no text file"),
        (b"caf\xe9", "in:7: byte 0xe9 at column 4 is not UTF-8"),
        (b"\xff\xfea\0", "in:7: a NUL byte"),
    ],
)
def test_binary_input_is_refused_by_line_and_byte(raw, message):
    with pytest.raises(InputError, match=message):
        _ = Line(7, raw, "in").text


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"{", "in:1: not JSON: "),
        (b'{"score": NaN}', "in:1: not JSON: NaN is no JSON number"),
        (b"[" * 200_000, "in:1: JSON nested too deeply"),
        (b"9" * 5000, "in:1: not JSON: "),
        (b'"\xff"', "in:1: byte 0xff"),
    ],
)
def test_bad_json_is_named_by_its_line(raw, message):
    with pytest.raises(InputError, match=message):
        parsed(Line(1, raw, "in"))


def test_a_file_knows_its_size_and_a_missing_one_is_named(tmp_path):
    path = tmp_path / "documents.txt"
    path.write_bytes(b"one\ntwo\n")
    with opened(path) as found:
        assert (found.name, found.size, len(list(found))) == (str(path), 8, 2)
    with pytest.raises(InputError, match="no.txt cannot be read: No such file"), opened(tmp_path / "no.txt"):
        pass
    with pytest.raises(InputError, match="cannot be read: Is a directory"), opened(tmp_path):
        pass
