"""Make the frozen cases anew: `python -m tests.golden.make`, from the root of a checkout, with the test extra.

Each folder here is a small random checkpoint in a published layout. cases.json holds what a reference library made of
it: transformers, or candding where transformers does not know the layout. They are frozen so that the engine is held to
the same numbers on machines without those libraries, and when those libraries change.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.checkpoints import Recipe, bert, dual, jina_v1, jina_v2, load, modernbert, xlm_roberta
from tests.models import test_bert, test_dual, test_modernbert, test_roberta
from tests.oracles import candding_scores, encoded, transformers_logits

HERE = Path(__file__).parent
QUERY = "what is the capital of france"
DOCUMENTS = [
    "Paris is the capital of France.",
    "Berlin is the capital of Germany.",
    "a red fox",
    "",
    "7 x 🙂 中 é",
    "the the the the the the the the the the the the the the the the the the the the",
]


def logits(recipe: Recipe, reference: object) -> list[float]:
    return transformers_logits(reference, encoded(load(recipe), [(QUERY, document) for document in DOCUMENTS]))


def main() -> None:
    stock = xlm_roberta(seed=12, width=16, layers=2, heads=2, positions=66)
    recipes = {
        "bert": bert(seed=11, width=16, layers=2, heads=2, positions=64),
        "xlm_roberta": stock,
        "jina_v2": jina_v2(seed=12, width=16, layers=2, heads=2, positions=66),
        "jina_v1": jina_v1(seed=13, width=24, layers=4, heads=6),
        "modernbert": modernbert(seed=15, width=16, layers=4, heads=2, window=8),
        "dual": dual(seed=14, width=16, layers=2, heads=2, positions=64),
    }
    with tempfile.TemporaryDirectory() as home:
        scores = candding_scores(recipes["jina_v1"], "jinaai/jina-reranker-v1-tiny-en", Path(home), QUERY, DOCUMENTS)
    cases = {
        "bert": {"by": "transformers", "logits": logits(recipes["bert"], test_bert.reference(recipes["bert"]))},
        "xlm_roberta": {"by": "transformers", "logits": logits(stock, test_roberta.reference(stock))},
        "jina_v2": {"by": "transformers, renamed", "logits": logits(stock, test_roberta.reference(stock))},
        "jina_v1": {"by": "candding", "scores": scores},
        "modernbert": {
            "by": "transformers",
            "logits": logits(recipes["modernbert"], test_modernbert.reference(recipes["modernbert"])),
        },
        "dual": {
            "by": "transformers, and words counted in Python",
            "logits": test_dual.Reference(recipes["dual"]).logits([(QUERY, document) for document in DOCUMENTS]),
        },
    }
    for name, recipe in recipes.items():
        recipe.write(HERE / name)
    text = json.dumps({"query": QUERY, "documents": DOCUMENTS, "cases": cases}, indent=1, ensure_ascii=False)
    (HERE / "cases.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
