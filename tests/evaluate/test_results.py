from __future__ import annotations

import json

import pytest

from crossrank.collections import open_collection
from crossrank.evaluate.compare import differences
from crossrank.evaluate.results import as_json, write_runs
from crossrank.evaluate.run import Options, evaluate_one
from crossrank.evaluate.systems import open_system
from tests.evaluate.worlds import write_beir, write_model


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    inside = tmp_path_factory.mktemp("results")
    world = open_collection(str(write_beir(inside / "world")))
    return evaluate_one(world, [open_system(str(write_model(inside / "tiny")))], Options(work=inside))


def test_the_json_holds_every_querys_value_and_its_mean(table):
    content = json.loads(json.dumps(as_json([table], {"world": list(differences(table, "nDCG@10"))}, {"a": 1})))
    assert content["card"] == {"a": 1}
    (world,) = content["collections"]
    assert [system["name"] for system in world["systems"]] == ["BM25", "tiny"]
    for system in world["systems"]:
        for name, values in system["by_query"].items():
            assert list(values) == table.queries
            assert system["mean"][name] == pytest.approx(sum(values.values()) / len(values))
    (difference,) = world["differences"]
    means = [system["mean"]["nDCG@10"] for system in world["systems"]]
    assert difference["mean"] == pytest.approx(means[1] - means[0])
    assert world["systems"][1]["cost"]["documents_per_second"] > 0


def test_runs_and_the_judgements_that_counted_are_files(table, tmp_path):
    files = [path.relative_to(tmp_path).as_posix() for path in write_runs(tmp_path, [table])]
    assert files == ["world/qrels", "world/BM25.run", "world/tiny.run"]
    first = (tmp_path / "world" / "BM25.run").read_text().splitlines()[0].split()
    assert first[:4] == ["q1", "Q0", "d1", "1"]
    assert first[5] == "BM25"
    judged = {line.split()[0] for line in (tmp_path / "world" / "qrels").read_text().splitlines()}
    assert judged == set(table.queries)
