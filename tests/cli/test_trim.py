from __future__ import annotations

import json

import pytest

from crossrank import Reranker

LINES = "what is the capital of france\nparis\n"


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(LINES)
    return path


def test_lines_of_a_file_say_what_stays(run, folder, corpus, tmp_path):
    ran = run("trim", corpus, "--model", folder, "--out", tmp_path / "small")
    assert ran.code == 0, ran.err
    report = ran.records[0]
    assert report["rows"] < report["rows_before"]
    assert (report["texts"], report["tokens"], report["tokens_kept"], report["sample"]) == (2, 7, 7, 2)
    assert f"written to {tmp_path / 'small'}" in ran.err
    pairs = [("what is the capital", "paris"), ("france", "the capital of france")]
    small, whole = (Reranker.load(each, device="cpu").score(pairs, raw=True) for each in (tmp_path / "small", folder))
    assert small == whole


@pytest.mark.parametrize(
    ("name", "options"), [("corpus.jsonl", []), ("corpus.txt", ["--format", "jsonl"]), ("-", ["--format", "jsonl"])]
)
def test_every_string_of_jsonl_says_what_stays(run, folder, corpus, tmp_path, name, options):
    rows = [{"query": "what is the capital of france", "positives": [{"text": "paris"}], "n": 1}, "berlin"]
    data = "".join(json.dumps(row) + "\n" for row in rows)
    if name != "-":
        (tmp_path / name).write_text(data)
        name, data = tmp_path / name, ""
    ran = run("trim", name, "--model", folder, "--dry-run", *options, stdin=data.encode())
    assert ran.code == 0, ran.err
    assert (ran.records[0]["texts"], ran.records[0]["tokens"]) == (3, 8)


def test_languages_and_scripts_need_no_file(run, folder, tmp_path):
    latin = run("trim", "--language", "fr", "--model", folder, "--dry-run").records[0]
    greek = run("trim", "--script", "Greek", "--model", folder, "--dry-run").records[0]
    assert latin["rows"] == latin["rows_before"]
    assert greek["rows"] < latin["rows"]


def test_a_dry_run_writes_nothing(run, folder, corpus, tmp_path):
    assert run("trim", corpus, "--model", folder, "--dry-run").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt"]


def test_a_terminal_reads_sizes_before_and_after(terminal, folder, corpus, tmp_path):
    shown = terminal("trim", corpus, "--model", folder, "--out", tmp_path / "small")
    assert "vocabulary  " in shown
    assert " -> " in shown
    assert "2 texts, 7 tokens; 100.00% of them keep their piece" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["--dry-run"], 3, "nothing says which pieces to keep"),
        (["--language", "fr"], 2, "give a folder, or --dry-run"),
        (["--language", "fr", "--out", "OLD"], 3, "overwrites none"),
        (["--language", "xx", "--dry-run"], 3, "no scripts are known for language 'xx'"),
        (["--script", "Elvish", "--dry-run"], 3, "Unicode has no script 'Elvish'"),
        (["absent.txt", "--dry-run"], 3, "absent.txt cannot be read"),
    ],
)
def test_what_cannot_be_done_is_said(run, folder, arguments, code, complaint):
    arguments = [folder if argument == "OLD" else argument for argument in arguments]
    ran = run("trim", "--model", folder, *arguments)
    assert ran.code == code
    assert complaint in " ".join(ran.err.split())
