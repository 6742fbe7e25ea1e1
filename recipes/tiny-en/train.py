"""Train tiny-en's teacher: a stock BERT cross-encoder that keeps what its bi-encoder knew.

    python train.py --data CANDIDATES --out RUN --pairs 65000
    python train.py --data CANDIDATES --out LATER --pairs 30000 --start RUN/state.pt

Three things keep the knowledge (a plain fine-tune on labels loses it):
1. The last layer and the head are written so that the first score is nearly the bi-encoder's cosine: warm.py.
2. At first the tokens of query and document barely see each other (a bias on that attention rises from -6 to 0), so the
   layers below compute what they did in the bi-encoder, while [CLS] reads both sides from the first step.
3. The target of every list is the teacher's: cosine and BM25 blended, with a bonus on labelled positives.
What remains at the end is BertForSequenceClassification, nothing else.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.append(str(Path(__file__).resolve().parents[1] / "dual"))
from candidates import QUERY_TOKENS, base_model, encode
from measures import ndcg
from progress import Progress
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, kl_div, log_softmax, softmax
from transformers import BertForSequenceClassification, BertModel
from warm import fit, write

CLS, SEP = 101, 102
GROUP = 8  # documents a query
QUERIES = 6  # a step: where pairs are few, more steps are worth more than bigger ones
HELD_OUT = 40  # queries of each source that are never trained on
COSINE, LEXICAL, BONUS = 20.0, 5.0, 4.0  # the teacher: nats for a cosine of 1, for BM25's best document, for a label
RATE, HEAD_RATE = 1.2e-4, 3e-4  # HEAD_RATE: of the last layer and the head
LATER = 0.6  # of the rates, for a run that goes on from another
WARM_UP, DECAY = 0.02, 0.4  # parts of the run, its first and its last
BIAS = -6.0  # on attention between the sides, when training starts
TYPE_STEP, FIT_PAIRS = 0.75, 70
# Documents of a step are cut to one of these, with fewer queries where they are long. A model that saw few long ones
# ranks long ones badly; the longest here fills the window that the model is served with.
LENGTHS = (48, 80, 128, 220)
EARLY_ODDS, LATE_ODDS = (0.4, 0.35, 0.2, 0.05), (0.2, 0.25, 0.3, 0.25)
# Less of what is easy or odd, more of what falls behind its bi-encoder soonest (code, product questions).
WEIGHT = {"fairytaleqa": 0.4, "text2sql_small": 0.6, "awsdocs_titles": 0.6, "operations_joined": 0.6}
WEIGHT |= {"functions": 1.5, "codenn_so": 1.6, "epqa": 1.3, "operations": 1.2, "wikisql_tables": 0.7}
WEIGHT |= {"halves": 1.5, "medquad": 1.3}

TokenPair = tuple[list[int], list[int]]


@dataclass(frozen=True)
class Pool:
    """One source as candidates.py left it."""

    name: str
    arrays: dict[str, np.ndarray]

    def query(self, i: int) -> list[int]:
        bounds = self.arrays["query_bounds"]
        return self.arrays["queries"][bounds[i] : bounds[i + 1]].tolist()

    def document(self, i: int, most: int) -> list[int]:
        start, end = self.arrays["document_bounds"][i : i + 2]
        return self.arrays["documents"][start : min(end, start + most)].tolist()

    def __len__(self) -> int:
        return len(self.arrays["candidates"])


@dataclass(frozen=True)
class Lists:
    """`pairs` lie list after list, as many documents in each; the other fields are [lists, documents]."""

    pairs: list[TokenPair]
    teacher: Tensor
    label: Tensor


def gather(picks: list[tuple[Pool, int, list[int]]], most: int) -> Lists:
    pairs, teacher, label = [], [], []
    for pool, i, columns in picks:
        numbers = pool.arrays["candidates"][i, columns]
        pairs += [(pool.query(i), pool.document(number, most)) for number in numbers]
        teacher.append(COSINE * pool.arrays["cosine"][i, columns] + LEXICAL * pool.arrays["bm25"][i, columns])
        label.append(pool.arrays["label"][i, columns])
    return Lists(pairs, torch.tensor(np.stack(teacher)), torch.tensor(np.stack(label)))


def sample(pools: list[Pool], rng: random.Random, length_odds: tuple[float, ...]) -> Lists:
    """One step's lists: one to three positives of each query and random ones of its other candidates."""
    odds = [WEIGHT.get(pool.name, 1.0) * len(pool) ** 0.75 for pool in pools]
    most = rng.choices(LENGTHS, length_odds)[0]
    picks = []
    for pool in rng.choices(pools, odds, k=max(3, min(QUERIES, QUERIES * 150 // most))):
        i = rng.randrange(HELD_OUT, len(pool))
        label = pool.arrays["label"][i]
        right, wrong = np.flatnonzero(label).tolist(), np.flatnonzero(~label).tolist()
        columns = rng.sample(right, min(len(right), rng.choice((1, 2, 3))))
        picks.append((pool, i, columns + rng.sample(wrong, GROUP - len(columns))))
    return gather(picks, most)


@dataclass(frozen=True)
class Batch:
    """Padded pairs; `side` is 0 on [CLS] query [SEP], 1 on document [SEP], 2 on padding."""

    ids: Tensor
    side: Tensor
    mask: Tensor


def collate(pairs: list[TokenPair], bias: float) -> Batch:
    """Pairs as [CLS] query [SEP] document [SEP]; `bias` is added to attention between the sides."""
    longest = max(len(query) + len(document) for query, document in pairs) + 3
    ids = torch.zeros(len(pairs), longest, dtype=torch.long)
    side = torch.full((len(pairs), longest), 2)
    for row, (query, document) in enumerate(pairs):
        whole = [CLS, *query, SEP, *document, SEP]
        ids[row, : len(whole)] = torch.tensor(whole)
        side[row, : len(query) + 2] = 0
        side[row, len(query) + 2 : len(whole)] = 1
    across = (side[:, :, None] != side[:, None, :]).float() * bias
    across[:, 0, :] = 0.0  # [CLS] reads everything from the start
    across.masked_fill_((side == 2)[:, None, :], -1e4)
    return Batch(ids, side, across[:, None].to(torch.bfloat16))


def forward(model: BertForSequenceClassification, pairs: list[TokenPair], bias: float) -> Tensor:
    """Logits of the pairs, [pairs]; the head in fp32 whatever the layers run in."""
    batch = collate(pairs, bias)
    output = model.bert(batch.ids, token_type_ids=batch.side.clamp(max=1), attention_mask=batch.mask)
    with torch.autocast("cpu", enabled=False):
        first = output.last_hidden_state[:, 0].float()
        return model.classifier(torch.tanh(model.bert.pooler.dense(first)))[:, 0]


def scores_of(model: BertForSequenceClassification, pairs: list[TokenPair], bias: float) -> Tensor:
    """`forward` over parts of like length, so that padding is little; the caller's order again, [pairs]."""
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][0]) + len(pairs[i][1]))
    parts = [order[start : start + 24] for start in range(0, len(order), 24)]
    with torch.autocast("cpu", torch.bfloat16):  # one context for all parts: weights are cast once
        scores = torch.cat([forward(model, [pairs[i] for i in part], bias) for part in parts])
    return scores[torch.tensor(order).argsort()]


def loss_of(scores: Tensor, lists: Lists, done: float) -> dict[str, Tensor]:
    """The parts of the loss, weighted. `done` is progress from 0 to 1: labels count for more towards the end.

    An unlabelled document that the teacher likes as much as the best positive may well be right: it gets no label.
    """
    label = lists.label.float()
    best = lists.teacher.masked_fill(~lists.label, -1e4).amax(1, keepdim=True)
    unsure = ~lists.label & (lists.teacher >= best - 1.0) & lists.label.any(1, keepdim=True)
    target = softmax(lists.teacher + BONUS * label, dim=1)
    one_of = label / label.sum(1, keepdim=True).clamp(min=1)
    listed = log_softmax(scores.masked_fill(unsure, -1e4), dim=1)
    apart = binary_cross_entropy_with_logits(scores, label, weight=1.0 + 2.0 * label, reduction="none")
    return {
        "teacher": kl_div(log_softmax(scores, 1), target, reduction="batchmean"),
        "list": (0.1 + 0.4 * done) * -(one_of * listed.clamp(min=-50)).sum(1).mean(),
        "pair": (0.1 + 0.3 * done) * apart[~unsure].mean(),
    }


@torch.inference_mode()
def held_out(model: BertForSequenceClassification, pools: list[Pool], bias: float, queries: int) -> str:
    """nDCG@10 on held-out lists of the model, the bi-encoder, BM25 and the teacher; a line a source and the mean."""
    lines, total = [], []
    for pool in pools:
        picks = [(pool, i, list(range(16))) for i in range(queries)]
        lists = gather(picks, 96)
        score = scores_of(model, lists.pairs, bias).view(queries, 16).numpy()
        cells = [score, pool.arrays["cosine"][:queries, :16], pool.arrays["bm25"][:queries, :16]]
        cells.append(lists.teacher.numpy())
        label = lists.label.numpy()
        values = [float(np.mean([ndcg(s, r) for s, r in zip(each, label, strict=True)])) for each in cells]
        lines.append(f"  {pool.name:24s} " + " ".join(f"{value:.3f}" for value in values))
        total.append(values)
    mean = " ".join(f"{value:.3f}" for value in np.mean(total, axis=0))
    return "\n".join([f"held out: model | bi-encoder BM25 teacher: {mean}", *lines])


def open_pools(folder: Path) -> list[Pool]:
    files = sorted(file for file in folder.glob("*.npz") if "partial" not in file.name)
    return [Pool(file.stem, dict(np.load(file))) for file in files]


def start_model(base: Path) -> BertForSequenceClassification:
    """The bi-encoder with the types of its sides apart and no dropout; warm_up() writes the rest."""
    model = BertForSequenceClassification.from_pretrained(base, num_labels=1, attn_implementation="eager")
    embeddings = model.bert.embeddings
    embeddings.word_embeddings.weight.requires_grad_(False)  # words that training never shows keep their meaning
    with torch.no_grad():  # the bi-encoder only knew type 0; the last layer needs to see which side a token is of
        types = embeddings.token_type_embeddings.weight
        types[1] = types[0] + TYPE_STEP * torch.nn.functional.normalize(types[1] - types[0], dim=0)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def warm_up(model: BertForSequenceClassification, base: Path, pools: list[Pool], rng: random.Random) -> None:
    """Write the last layer and the head (warm.py), fitted on FIT_PAIRS random pairs of each source."""
    pairs = []
    for pool in pools:
        for i in rng.sample(range(HELD_OUT, len(pool)), min(FIT_PAIRS, len(pool) - HELD_OUT)):
            number = int(rng.choice(pool.arrays["candidates"][i]))
            pairs.append((pool.query(i), pool.document(number, 62)))
    states, sides = [], []
    for start in range(0, len(pairs), 32):
        batch = collate(pairs[start : start + 32], BIAS)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            kinds = batch.side.clamp(max=1)
            output = model.bert(batch.ids, token_type_ids=kinds, attention_mask=batch.mask, output_hidden_states=True)
        for state, side in zip(output.hidden_states[-2].float(), batch.side, strict=True):
            states.append(state[side < 2])
            sides.append(side[side < 2])
    bi_encoder = BertModel.from_pretrained(base).eval()
    targets = [encode(bi_encoder, [pair[k] for pair in pairs], QUERY_TOKENS) for k in (0, 1)]
    write(model, *fit(states, sides, (targets[0], targets[1])))


def adam(model: BertForSequenceClassification, rate: float, head_rate: float) -> torch.optim.AdamW:
    """AdamW; `head_rate` is for the last layer and the head, which warm_up() wrote."""
    written = (model.classifier, model.bert.pooler, model.bert.encoder.layer[-1])
    head = [parameter for module in written for parameter in module.parameters()]
    body = [p for p in model.bert.parameters() if p.requires_grad and all(p is not other for other in head)]
    groups = [{"params": body, "rate": rate}, {"params": head, "rate": head_rate}]
    return torch.optim.AdamW(groups, lr=rate, weight_decay=0.01, betas=(0.9, 0.98))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that candidates.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for state.pt; training resumes from it")
    parser.add_argument("--pairs", type=int, default=90_000, help="pairs to train on; the schedule ends with them")
    parser.add_argument(
        "--opening", type=float, default=0.2, help="part of training in which the sides' attention opens"
    )
    parser.add_argument("--start", type=Path, help="state.pt of a run to go on from; default: none")
    parser.add_argument("--base", type=Path, help="folder of the bi-encoder; default: all-MiniLM-L6-v2's package")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    rng = random.Random(options.seed)
    pools = open_pools(options.data)
    base = base_model(options.base)
    model = start_model(base)
    share = LATER if options.start else 1.0
    optimizer = adam(model, share * RATE, share * HEAD_RATE)
    progress = Progress(options.out / "state.pt")
    if progress.resume(model, optimizer):
        rng.seed(options.seed + progress.step)
    elif options.start:
        model.load_state_dict(torch.load(options.start, weights_only=False)["model"])
    else:
        warm_up(model, base, pools, rng)
    tested = progress.spent
    while progress.pairs < options.pairs:
        begin = time.perf_counter()
        done = progress.pairs / options.pairs
        opens = options.opening and not options.start
        bias = BIAS * max(0.0, 1 - done / options.opening) if opens else 0.0
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * min(1.0, done / WARM_UP + 0.05, (1 - done) / DECAY + 0.01)
        lists = sample(pools, rng, EARLY_ODDS if done < 0.3 and not options.start else LATE_ODDS)
        parts = loss_of(scores_of(model, lists.pairs, bias).view(-1, GROUP), lists, done)
        sum(parts.values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        progress.add(len(lists.pairs), time.perf_counter() - begin, parts)
        if progress.step % 20 == 0:
            print(f"{time.strftime('%H:%M:%S')} bias {bias:.1f} {progress.told(done)}", flush=True)
        over = progress.pairs >= options.pairs
        if progress.due(options.pairs):
            progress.save(model, optimizer)
            pools = open_pools(options.data)  # candidates.py may have gone on
        if progress.spent - tested > 900 or over:
            tested = progress.spent
            print(held_out(model, pools, bias, 8), flush=True)


if __name__ == "__main__":
    main()
