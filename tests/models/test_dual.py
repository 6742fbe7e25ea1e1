"""The dual architecture against transformers' layers and words counted in plain Python."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import processors
from transformers import BertConfig, BertModel

from crossrank import CheckpointError, Reranker
from crossrank.batch import Filled, pack, sides
from crossrank.models.dual import overlap
from tests.checkpoints import Recipe, dual, load, tiny, unplaced
from tests.oracles import encoded
from tests.vocabularies import framed_apart, letters, wordpiece

PAIRS = [(letters(1 + n % 7, n), letters(n * n % 61, n + 100)) for n in range(24)]


@dataclass(frozen=True)
class Opinions:
    """What is said of one pair, and what each of the last three counts for its query."""

    cross: float
    cosine: float
    lexical: float
    late: float
    counts: list[float]

    @property
    def logit(self) -> float:
        return self.cross + sum(np.multiply(self.counts, [self.cosine, self.lexical, self.late]))


class Reference:
    """The opinions of a pair, one pair at a time."""

    def __init__(self, recipe: Recipe) -> None:
        self.tokenizer, self.tensors = recipe.raw_tokenizer(), recipe.tensors
        self.branch = recipe.config["branch_layer"]
        layers = recipe.config["num_hidden_layers"]
        self.side = transformers_bert(recipe, 0, layers)
        self.both = transformers_bert(recipe, layers, recipe.config["num_cross_layers"])

    @torch.inference_mode()
    def opinions(self, query: str, document: str) -> Opinions:
        encoding = self.tokenizer.encode(query, document)
        ids = [[i for i, kind in zip(encoding.ids, encoding.type_ids, strict=True) if kind == side] for side in (0, 1)]
        states = [self.side(torch.tensor([each]), output_hidden_states=True) for each in ids]
        tops = [state.last_hidden_state[0] for state in states]
        one, other = (top.mean(0) for top in tops)
        marks = [side + 2 * (i in ids[1 - side]) for side in (0, 1) for i in ids[side]]
        x = torch.cat([state.hidden_states[self.branch][0] for state in states]) + self.tensors["marks.weight"][marks]
        first = self.both.encoder(x[None]).last_hidden_state[0, 0]
        cross = self.linear("cross.out", torch.tanh(self.linear("cross.dense", first)))
        weights = self.tensors["pieces.weight"][:, 0].tolist()
        total = sum(max(0.0, weights[i]) for i in ids[0])
        asked = torch.cat([one / one.norm(), torch.tensor([math.log1p(total)])])
        return Opinions(
            cross=cross.item(),
            cosine=(one @ other / (one.norm() * other.norm())).item(),
            lexical=share(*ids, weights),
            late=self.late(ids[0], *tops, weights),
            counts=[math.log1p(math.exp(count)) for count in self.linear("mix", asked).tolist()],
        )

    def late(self, ids: Sequence[int], query: torch.Tensor, document: torch.Tensor, weights: Sequence[float]) -> float:
        """The mean of each query token's best cosine, weighted."""
        query, document = (states @ self.tensors["late.weight"].T for states in (query, document))
        counting = [(i, state) for i, state in zip(ids, query, strict=True) if weights[i] > 0]
        best = [weights[i] * max((q @ d / (q.norm() * d.norm())).item() for d in document) for i, q in counting]
        return sum(best) / sum(weights[i] for i, _ in counting) if counting else 0.0

    def logits(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        return [self.opinions(*pair).logit for pair in pairs]

    def linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return self.tensors[f"{name}.weight"] @ x + self.tensors[f"{name}.bias"]


def transformers_bert(recipe: Recipe, start: int, count: int) -> BertModel:
    """BERT with the recipe's embeddings and `count` of its layers; the one row of token types holds nothing."""
    kept = {"embeddings.token_type_embeddings.weight": torch.zeros(1, recipe.config["hidden_size"])}
    for name, tensor in recipe.tensors.items():
        if name.startswith("embeddings."):
            kept[name] = tensor
        for layer in range(count):
            stem = f"encoder.layer.{start + layer}."
            if name.startswith(stem):
                kept[f"encoder.layer.{layer}.{name.removeprefix(stem)}"] = tensor
    config = BertConfig(**{**recipe.config, "model_type": "bert", "num_hidden_layers": count, "type_vocab_size": 1})
    model = BertModel(config, add_pooling_layer=False)
    model.load_state_dict(kept)
    return model.eval()


def share(query: Sequence[int], document: Sequence[int], weights: Sequence[float]) -> float:
    """BM25 with k1 of 0.9 and b of 0.4 where documents have 128 pieces, as a part of what the query weighs."""
    counts, counting = Counter(document), [i for i in query if weights[i] > 0]
    room = 0.9 * (0.6 + 0.4 * len(document) / 128)
    most = sum(weights[i] for i in counting)
    return sum(weights[i] * counts[i] / (counts[i] + room) for i in counting) / most if counting else 0.0


@pytest.mark.parametrize(
    "settings",
    [{}, {"branch_layer": 1}, {"branch_layer": 3}, {"num_hidden_layers": 4, "num_cross_layers": 1}],
    ids=["as it is", "from below", "from the top", "one cross layer"],
)
def test_the_logit_is_the_sum_of_what_the_reference_finds(settings):
    recipe = dual().changed(**settings)
    expected = Reference(recipe).logits(PAIRS)
    assert np.std(expected) > 0.3
    np.testing.assert_allclose(load(recipe).score(PAIRS, raw=True), expected, atol=1e-5, rtol=0)
    if settings:
        assert np.abs(np.subtract(expected, tiny("dual").score(PAIRS, raw=True))).max() > 0.1


@pytest.mark.parametrize(("pair", "length"), [((letters(10), letters(498)), 512), (("", ""), 4)])
def test_the_longest_and_the_emptiest_pair_score_as_in_the_reference(pair, length):
    [filled] = encoded(tiny("dual"), [pair])
    assert len(filled) == length
    expected = Reference(dual()).logits([pair])
    np.testing.assert_allclose(tiny("dual").score([pair], raw=True), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mix.bias", torch.tensor([0.0, 1.0, 1.0])),
        ("mix.bias", torch.tensor([1.0, 0.0, 1.0])),
        ("mix.bias", torch.tensor([1.0, 1.0, 0.0])),
        ("mix.weight", torch.cat([torch.zeros(32), torch.ones(1)])),
        ("mix.weight", torch.cat([torch.ones(32), torch.zeros(1)])),
        ("late.weight", torch.zeros(1, 1)),
        ("marks.weight", torch.zeros(4, 1)),
        ("marks.weight", torch.tensor([[1.0], [1.0], [0.0], [0.0]])),
        ("cross.out.weight", torch.zeros(1, 1)),
        ("pieces.weight", torch.zeros(1, 1)),
    ],
    ids=["cosine", "lexical", "late", "what is asked", "how much is asked", "late's map"]
    + ["marks", "marks of shared tokens", "cross", "weights"],
)
def test_each_part_moves_scores_by_far_more_than_the_tolerance(name, change):
    recipe = dual()
    without = load(recipe.with_tensors({name: recipe.tensors[name] * change})).score(PAIRS, raw=True)
    assert np.abs(np.subtract(without, tiny("dual").score(PAIRS, raw=True))).max() > 0.1


tokens = st.lists(st.integers(0, 5), max_size=9)


@given(
    pairs=st.lists(st.tuples(tokens, tokens), min_size=1, max_size=5),
    weights=st.lists(st.sampled_from([0.0, -1.0]) | st.floats(1 / 64, 5, width=32), min_size=6, max_size=6),
)
def test_overlap_is_what_counting_gives(pairs, weights):
    batch = pack([Filled(np.array([*query, *document], dtype=np.int32), len(query)) for query, document in pairs])
    found = overlap(batch, torch.tensor(weights))
    both = [(query, document, set(query) & set(document)) for query, document in pairs]
    assert found.met.tolist() == [i in shared for query, document, shared in both for i in (*query, *document)]
    expected = [share(query, document, weights) for query, document in pairs]
    np.testing.assert_allclose(found.lexical.numpy(), expected, atol=1e-6)
    assert all(0 <= value <= 1 for value in found.lexical.tolist())
    asked = [sum(max(0.0, weights[i]) for i in query) for query, _ in pairs]
    np.testing.assert_allclose(found.total.numpy(), asked, rtol=1e-6)


def test_a_weight_that_training_took_below_zero_makes_no_share_of_millions():
    """Special tokens begin at nothing, and one step may take them there; a query of light pieces would then divide by
    nearly nothing."""
    batch = pack([Filled(np.array([0, 1, 0, 0, 1, 0], dtype=np.int32), 3)])
    weights = torch.tensor([-0.05, 0.1], requires_grad=True)
    found = overlap(batch, weights)
    assert 0.5 < found.lexical.item() < 1
    found.lexical.sum().backward()
    assert weights.grad[0] == 0


def test_without_cross_head_and_words_the_ranking_is_the_bi_encoders():
    recipe = dual()
    silent = {"cross.out.weight": torch.zeros(1, 32), "mix.weight": torch.zeros(3, 33)}
    silent["mix.bias"] = torch.tensor([20.0, -100.0, -100.0])
    query, documents = "what is the capital of france", [letters(1 + n * n % 40, n) for n in range(20)]
    ranking = load(recipe.with_tensors(silent)).rank(query, documents)
    cosines = [Reference(recipe).opinions(query, document).cosine for document in documents]
    assert [hit.index for hit in ranking] == sorted(range(20), key=lambda index: -cosines[index])


def test_sides_are_sequences_of_their_own():
    batch = pack([Filled(np.arange(5, dtype=np.int32), 2), Filled(np.arange(4, dtype=np.int32), 1)])
    alone = sides(batch)
    assert alone.lengths == (2, 3, 1, 3)
    assert alone.bounds.tolist() == [0, 2, 5, 6, 9]
    assert alone.positions.tolist() == [0, 1, 0, 1, 2, 0, 0, 1, 2]
    assert torch.equal(alone.tokens, batch.tokens)


def test_what_is_above_the_sides_learns_from_states_that_were_kept():
    """As a recipe does that computes the sides once: nothing below the branch has a part in it."""
    model = unplaced(dual()).model
    batch = pack(encoded(tiny("dual"), PAIRS))
    with torch.no_grad():
        below, top = model.apart(batch)
    logits = model.together(below, top, batch)
    torch.testing.assert_close(logits, model(batch))
    logits.sum().backward()
    learning = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    above = ("blocks.3.", "blocks.4.", "marks.", "head.")
    assert learning == {name for name, _ in model.named_parameters() if name.startswith(above)}
    assert all(parameter.grad.any() for name, parameter in model.named_parameters() if name in learning)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_words_are_counted_in_float32_whatever_the_layers_compute_in(dtype):
    only = {"cross.out.weight": torch.zeros(1, 32), "mix.weight": torch.zeros(3, 33)}
    only["mix.bias"] = torch.tensor([-100.0, 2.0, -100.0])
    exact, half = (load(dual().with_tensors(only), dtype=name).score(PAIRS, raw=True) for name in (None, dtype))
    assert half == exact
    assert len(set(exact)) > len(PAIRS) // 2


def framed_by(folder: Path, processor: processors.PostProcessor) -> Path:
    """The model with another frame in its tokenizer.json."""
    dual().write(folder)
    raw = wordpiece()
    raw.post_processor = processor
    raw.save(str(folder / "tokenizer.json"))
    return folder


def test_prompts_of_the_frame_are_read_as_if_they_were_typed(tmp_path):
    frame = framed_apart(wordpiece(), "what is", "the red").post_processor
    prompted = Reranker.load(framed_by(tmp_path, frame), device="cpu")
    typed = [(f"what is {query}", f"the red {document}") for query, document in PAIRS]
    assert prompted.score(PAIRS, raw=True) == tiny("dual").score(typed, raw=True)
    assert prompted.score(PAIRS, raw=True) != tiny("dual").score(PAIRS, raw=True)


@pytest.mark.parametrize(
    "pair", ["[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", "[CLS]:0 $A:0 [SEP]:0 [CLS]:0 $B:0 [SEP]:0"], ids=["bert", "untyped"]
)
def test_a_frame_that_is_not_of_two_sides_is_refused(pair, tmp_path):
    special = [("[CLS]", 2), ("[SEP]", 3)]
    frame = processors.TemplateProcessing(single="[CLS]:0 $A:0 [SEP]:0", pair=pair, special_tokens=special)
    with pytest.raises(CheckpointError, match="frames no document by itself"):
        Reranker.load(framed_by(tmp_path, frame), device="cpu")


@pytest.mark.parametrize("key", ["branch_layer", "num_cross_layers", "num_hidden_layers", "layer_norm_eps"])
@pytest.mark.parametrize("value", [None, 0, -1, "2"])
def test_a_setting_that_is_missing_or_no_positive_number_is_named(key, value):
    with pytest.raises(CheckpointError, match=f"{key} should be a positive"):
        load(dual().changed(**{key: value}))


def test_a_branch_above_the_top_is_refused():
    with pytest.raises(CheckpointError, match="branch_layer 4 is above the top of 3 num_hidden_layers"):
        load(dual().changed(branch_layer=4))


@pytest.mark.parametrize("settings", [{"type_vocab_size": 2}, {"hidden_act": "mish"}, {"pooling": "cls"}])
def test_a_setting_that_is_not_computed_is_refused(settings):
    with pytest.raises(CheckpointError, match=next(iter(settings))):
        load(dual().changed(**settings))
