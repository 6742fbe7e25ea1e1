from __future__ import annotations

import json

import pytest

from tests.evaluate.worlds import write_beir


@pytest.fixture
def world(tmp_path):
    return write_beir(tmp_path / "world")


def test_one_command_prints_a_table_and_writes_all_that_was_asked_for(run, folder, world, tmp_path):
    ran = run(
        "evaluate", world, "--model", folder, "--measure", "nDCG@10", "--measure", "R@3", "--work", tmp_path / "work",
        "--json", tmp_path / "out.json", "--runs", tmp_path / "runs", "--report", tmp_path / "report.html",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    rows = {line.split()[0]: line for line in ran.out.splitlines() if line.strip()}
    content = json.loads((tmp_path / "out.json").read_text())
    for system in content["collections"][0]["systems"]:
        assert f"{system['mean']['nDCG@10']:.3f}" in rows[system["name"]]
    assert "world: 6 documents, 4 queries; 1 empty queries left out" in ran.out
    assert "R@100" in ran.out
    assert content["collections"][0]["measures"] == ["nDCG@10", "R@3"]
    assert (tmp_path / "runs" / "world" / "minilm.run").is_file()
    assert (tmp_path / "report.html").read_text().endswith("</html>\n")


def test_a_suite_is_measured_its_own_way(run, folder, tmp_path):
    write_beir(tmp_path / "data" / "spider_tables")
    ran = run("evaluate", "table-search", "--data", tmp_path / "data", "-m", folder, "--work", tmp_path / "work")
    assert ran.code == 0, ran.err
    assert "Δ, p: R@3 against BM25" in ran.out


def test_a_suite_without_its_data_says_what_to_get(run, tmp_path):
    ran = run("evaluate", "table-search", "--data", tmp_path, "--work", tmp_path)
    assert ran.code == 3
    assert "github.com/taoyds/spider" in ran.err


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--measure", "nonsense"], "cannot measure 'nonsense'"),
        (["--first-stage", "absent.run"], "no such file"),
        (["--top-k", "0"], "top_k should be at least 1"),
        (["--report", "."], "is a folder; a file to write would do"),
        (["-m", "mini-en@int7"], "dtype 'int7'"),
        (["--runs", "pyproject.toml"], "pyproject.toml is a file; a folder to write runs into would do"),
    ],
)
def test_what_cannot_be_evaluated_is_said_before_any_work(run, world, tmp_path, more, complaint):
    ran = run("evaluate", world, "--work", tmp_path / "work", *more)
    assert ran.code == 3
    assert complaint in ran.err
    assert ran.out == ""


def test_runs_of_ids_that_a_run_cannot_hold_are_refused_before_any_work(run, tmp_path):
    folder = write_beir(tmp_path / "w", documents={"d 1": ("", "bees")}, queries={"q": "bees"}, qrels={"q": {"d 1": 1}})
    ran = run("evaluate", folder, "--work", tmp_path / "work", "--runs", tmp_path / "runs")
    assert ran.code == 3
    assert "cannot hold the document id 'd 1'" in ran.err
    assert not (tmp_path / "runs").exists()


def test_two_collections_of_one_name_are_refused(run, world, tmp_path):
    ran = run("evaluate", world, world, "--work", tmp_path / "work")
    assert ran.code == 3
    assert "two collections are called 'world'" in ran.err
