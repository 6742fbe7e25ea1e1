from __future__ import annotations

import json

from crossrank.calibration import files_hash
from crossrank.collections import open_collection
from crossrank.evaluate.card import run_card
from crossrank.evaluate.run import Options, evaluate_one
from crossrank.evaluate.systems import open_system
from tests.evaluate.worlds import write_beir, write_model


def test_a_card_says_what_ran_on_what_by_which_command(tmp_path):
    world = open_collection(str(write_beir(tmp_path / "world")))
    model = write_model(tmp_path / "tiny")
    systems = [open_system(f"{model}@bfloat16")]
    options = Options(work=tmp_path, seed=3, limit_queries=2)
    card = run_card([evaluate_one(world, systems, options)], systems, options, ["crossrank", "evaluate", "a b"])
    assert json.loads(json.dumps(card)) == card | {"options": card["options"] | {"measures": [*options.measures]}}
    assert card["command"] == "crossrank evaluate 'a b'"
    assert card["options"]["seed"] == 3
    assert card["systems"]["tiny bfloat16"]["sha256"] == files_hash(model)
    assert card["systems"]["tiny bfloat16"]["dtype"] == "bfloat16"
    found = card["collections"]["world"]
    assert found["sha256"] == world.digest
    assert (found["documents"], found["queries"], found["usable_queries"]) == (6, 2, 4)
    assert found["gap"] == {"empty": 1, "unjudged": 1, "hopeless": 1, "strangers": 1}
    assert all(card["versions"][name] for name in ("crossrank", "torch", "bm25s", "ir-measures", "python"))
    assert card["machine"]["processor"]
