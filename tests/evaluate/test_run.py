from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ir_measures
import pytest
import torch

from crossrank.collections import open_collection
from crossrank.errors import InputError
from crossrank.evaluate.results import write_runs
from crossrank.evaluate.run import Options, evaluate, evaluate_one
from crossrank.evaluate.runs import write_run
from crossrank.evaluate.systems import open_system
from tests.evaluate.worlds import write_beir, write_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def world(tmp_path):
    return open_collection(str(write_beir(tmp_path / "world")))


def test_the_first_stage_stands_beside_what_the_model_made_of_it(world, model, tmp_path):
    table = evaluate_one(world, [open_system(str(model))], Options(work=tmp_path, measures=("nDCG@10",)))
    first, second = table.outcomes
    assert (first.system, second.system) == ("BM25", "tiny")
    assert table.queries == ["q1", "q2", "q3", "q4"]
    for query in table.queries:
        assert {d for d, _ in first.run[query]} == {d for d, _ in second.run[query]}, "reranked, nothing added or lost"
    assert first.mean(table.ceiling) == second.mean(table.ceiling)
    assert second.mean("nDCG@10") <= 1
    assert second.cost.documents == sum(map(len, first.run.values()))
    assert second.cost.tokens > second.cost.documents


def test_values_equal_those_that_ir_measures_computes_from_the_written_runs(world, model, tmp_path):
    names = ("nDCG@10", "R@3", "RR@10", "AP", "P@5")
    tables = evaluate([world], [open_system(str(model))], Options(work=tmp_path, measures=names))
    files = list(write_runs(tmp_path / "runs", tables))
    qrels = list(ir_measures.read_trec_qrels(str(tmp_path / "runs" / "world" / "qrels")))
    assert len(files) == 3
    for outcome in tables[0].outcomes:
        run = ir_measures.read_trec_run(str(tmp_path / "runs" / "world" / f"{outcome.system}.run"))
        theirs = ir_measures.calc_aggregate([ir_measures.parse_measure(name) for name in names], qrels, run)
        for measure, value in theirs.items():
            assert outcome.mean(str(measure)) == pytest.approx(value, abs=1e-6)


def test_a_missed_relevant_document_stays_missed(world, model, tmp_path):
    options = Options(work=tmp_path, measures=("R@100",), top_k=1)
    table = evaluate_one(world, [open_system(str(model))], options)
    assert table.outcomes[1].values["R@100"]["q3"] == pytest.approx(1 / 3)
    flattered = evaluate_one(world, [open_system(str(model))], Options(work=tmp_path, top_k=1, inject_relevant=True))
    assert flattered.outcomes[1].values["R@10"]["q3"] == pytest.approx(2 / 3)
    assert flattered.ceiling == "R@3"  # what was added lies below the first
    assert all(outcome.mean("R@3") <= flattered.outcomes[0].mean("R@3") for outcome in flattered.outcomes)


def test_a_run_cannot_be_first_stage_and_system_under_one_name(world, tmp_path):
    path = tmp_path / "same.run"
    write_run(path, {"q1": [("d1", 1.0)]}, "x")
    with pytest.raises(InputError, match=r"a system is called 'same.run', as the first stage is"):
        evaluate_one(world, [open_system(f"run:{path}")], Options(work=tmp_path, first_stage=str(path)))


def test_work_that_other_threads_did_is_done_again(world, model, tmp_path):
    """Its cost would stand beside a card that tells of other ones."""
    for _ in range(2):
        evaluate_one(world, [open_system(str(model))], Options(work=tmp_path))
    assert len(list((tmp_path / "journals").iterdir())) == 1
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        evaluate_one(world, [open_system(str(model))], Options(work=tmp_path))
    finally:
        torch.set_num_threads(before)
    assert len(list((tmp_path / "journals").iterdir())) == 2


def test_a_run_file_is_measured_as_it_is(world, tmp_path):
    write_run(tmp_path / "perfect.run", {"q1": [("d1", 1.0)], "q4": [("d5", 2.0), ("d1", 1.0)]}, "x")
    table = evaluate_one(world, [open_system(f"run:{tmp_path / 'perfect.run'}")], Options(work=tmp_path))
    assert table.outcomes[1].values["RR@10"] == {"q1": 1.0, "q2": 0.0, "q3": 0.0, "q4": 1.0}
    assert table.outcomes[1].cost is None


def test_a_query_for_which_nothing_was_found_counts_as_nothing(model, tmp_path):
    folder = write_beir(tmp_path / "w", queries={"q1": "zebra", "q2": "bees"}, qrels={"q1": {"d1": 1}, "q2": {"d2": 1}})
    table = evaluate_one(open_collection(str(folder)), [open_system(str(model))], Options(work=tmp_path))
    for outcome in table.outcomes:
        assert outcome.run["q1"] == []
        assert outcome.values["R@10"] == {"q1": 0.0, "q2": 1.0}


def test_two_systems_of_one_name_are_refused(world, model, tmp_path):
    with pytest.raises(InputError, match="two systems are called 'tiny'"):
        evaluate_one(world, [open_system(str(model))] * 2, Options(work=tmp_path))


@pytest.mark.parametrize("wrong", [{"top_k": 0}, {"limit_queries": 0}, {"measures": ()}])
def test_options_that_make_no_sense_are_refused(wrong, tmp_path):
    with pytest.raises(InputError):
        Options(work=tmp_path, **wrong)


def test_finished_work_is_not_done_again_and_a_changed_model_is(world, model, tmp_path):
    options = Options(work=tmp_path / "work")
    first = evaluate_one(world, [open_system(str(model))], options)
    journal = next((tmp_path / "work" / "journals").iterdir())
    before = journal.read_bytes()
    again = evaluate_one(world, [open_system(str(model))], options)
    assert journal.read_bytes() == before
    assert again.outcomes[1].run == first.outcomes[1].run
    assert again.outcomes[1].cost == first.outcomes[1].cost, "what was spent then is what it costs"
    other = write_model(tmp_path / "tiny", seed=7)
    changed = evaluate_one(world, [open_system(str(other))], options)
    assert changed.outcomes[1].run != first.outcomes[1].run
    assert len(list((tmp_path / "work" / "journals").iterdir())) == 2


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_killed_and_started_again_it_goes_on_where_it_was_and_the_result_is_identical(model, tmp_path):
    documents = {f"d{i}": ("", f"whale bee salt {i} " + "water " * (i % 17)) for i in range(40)}
    queries = {f"q{i}": f"whale {i} salt" for i in range(90)}
    qrels = {f"q{i}": {f"d{i % 40}": 1} for i in range(90)}
    folder = write_beir(tmp_path / "world", documents, queries, qrels)

    def command(work: str) -> list[str]:
        return [
            *(sys.executable, "-m", "crossrank", "evaluate", str(folder), "--model", str(model)),
            *("--work", str(tmp_path / work), "--json", str(tmp_path / f"{work}.json")),
            *("--runs", str(tmp_path / f"{work}-runs")),
        ]

    victim = subprocess.Popen(command("killed"), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while done(tmp_path / "killed") < 5:
        assert victim.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    reached = done(tmp_path / "killed")
    assert 5 <= reached < 90
    assert not (tmp_path / "killed.json").exists()
    kept = journal(tmp_path / "killed").read_bytes()
    for work in ("killed", "whole"):
        subprocess.run(command(work), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    whole_lines = kept[: kept.rfind(b"\n") + 1]
    assert journal(tmp_path / "killed").read_bytes().startswith(whole_lines), "it began anew"
    assert results(tmp_path / "killed.json") == results(tmp_path / "whole.json")
    for path in sorted((tmp_path / "whole-runs").rglob("*")):
        if path.is_file():
            twin = tmp_path / "killed-runs" / path.relative_to(tmp_path / "whole-runs")
            assert twin.read_bytes() == path.read_bytes()


def journal(work: Path) -> Path:
    return next((work / "journals").iterdir())


def done(work: Path) -> int:
    """Queries finished so far."""
    return journal(work).read_bytes().count(b'"query"') if list(work.glob("journals/*")) else 0


def results(path: Path) -> list[object]:
    """All that was measured but the time it took."""
    content = json.loads(path.read_text())
    for collection in content["collections"]:
        for system in collection["systems"]:
            del system["cost"]
    return content["collections"]
