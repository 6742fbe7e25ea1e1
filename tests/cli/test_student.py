from __future__ import annotations

import json

from crossrank import Reranker


def test_a_student_is_built_and_described(run, folder, tmp_path):
    ran = run("student", folder, "--into", tmp_path / "student", "--layers", 2, "--width", 16)
    assert ran.code == 0, ran.err
    told = json.loads(ran.out)
    assert (told["layers"], told["width"], told["heads"], told["inner"]) == ([0, 2], 16, 2, 32)
    reranker = Reranker.load(tmp_path / "student", device="cpu")
    assert reranker.checkpoint.parameters == told["parameters"] < told["teacher_parameters"]


def test_a_jinabert_student_reads_8192_tokens(run, folder, tmp_path):
    ran = run("student", folder, "--into", tmp_path / "student", "--pick", "1,0", "--jinabert")
    assert (json.loads(ran.out)["max_length"], json.loads(ran.out)["layers"]) == (8192, [1, 0])


def test_a_terminal_is_told_in_words(terminal, folder, tmp_path):
    shown = terminal("student", folder, "--into", tmp_path / "s", "--layers", 1)
    assert "layers 0 of it, width 32, 4 heads, 64 neurons a layer" in shown
    assert "512 tokens a pair" in shown


def test_contradictions_are_wrong_usage_and_a_full_folder_is_left_alone(run, folder, tmp_path):
    into = ("--into", tmp_path / "student")
    assert run("student", folder, *into, "--layers", 1, "--pick", "0").code == 2
    assert run("student", folder, *into, "--pick", "first").code == 2
    assert run("student", folder, *into, "--max-length", 100).code == 2
    ran = run("student", *into, "--layers", 1)
    assert (ran.code, "Missing argument 'TEACHER'" in ran.err) == (2, True)
    ran = run("student", folder, "--into", folder)
    assert (ran.code, "is there already and not empty" in ran.err) == (3, True)
    assert not (tmp_path / "student").exists()
