"""Teach the sides of a dual model what Python functions do, and nothing else anew.

    python sides.py --model mini-en --code work/code --states work/states \
        --candidates work/candidates --minutes 24 --out work/run

Each step has groups of questions that are alike, and each question's answer must be nearer to it than the other
answers are, by cosine and by late interaction (the loss of Sentence-BERT's multiple negatives). Text of all other
sources is in every step too: its states must stay those in --states, which dual/states.py wrote with --model. What is
written in the end lies between the weights before and after, which keeps more of both than either
(Wortsman et al. 2022, https://arxiv.org/abs/2109.01903).

state.pt in --out is resumed from; the finished model is --out/model.
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
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

sys.path += [str(Path(__file__).resolve().parents[1] / folder) for folder in ("dual", "ensemble")]
from blend import kin
from course import train
from library import padded
from lists import Pool
from measures import ndcg
from progress import Progress
from states import alone, encode, framed
from texts import names, read

from crossrank.checkpoint import Checkpoint, read_checkpoint
from crossrank.models.dual import Dual, means
from crossrank.train.saving import between, write_model

CODE_TOKENS = 32, 128  # of a question, of code
GROUP, GROUPS = 32, 4  # questions that are alike, and how many groups of them a step has
AMONG = 4000  # questions that a group is chosen from
ALIKE = 0.85  # two questions of such a cosine may well have each other's answers
KEPT = 48  # texts of a step that must stay as they are
STAY = 20.0  # weight of that
LATE = 0.5  # weight of late interaction
SCALE = 20.0  # logits for a cosine of 1
RATES = {"top": 1e-4, "all": 5e-5}
DEV = 300  # functions that are not trained on
CODE = kin("functions")


@dataclass(frozen=True, eq=False)
class Code:
    """Questions, their answers, and where the questions lie, [questions, width]; the first DEV are for judging.

    learned: the numbers of those trained on, which share neither question nor answer with the first.
    """

    asked: list[np.ndarray]
    answered: list[np.ndarray]
    vectors: np.ndarray
    learned: np.ndarray


def read_code(folder: Path, checkpoint: Checkpoint, model: Dual) -> Code:
    """All sources of a folder, in one order that is always the same."""
    queries, answers = [], []
    for name in names(folder):
        source = read(folder, name)
        queries += source.queries
        answers += [source.documents[each[0]] for each in source.positives]
    order = list(range(len(queries)))
    random.Random(1).shuffle(order)
    judged = {text for i in order[:DEV] for text in (queries[i], answers[i])}
    learned = [place for place, i in enumerate(order) if not judged & {queries[i], answers[i]}]
    asked = framed(checkpoint, [queries[i] for i in order], 0, CODE_TOKENS[0])
    answered = framed(checkpoint, [answers[i] for i in order], 1, CODE_TOKENS[1])
    with torch.autocast("cpu", torch.bfloat16):
        return Code(asked, answered, encode(model, asked)[1], np.array(learned))


def group(code: Code, rng: np.random.Generator) -> np.ndarray:
    """A question and those most like it among some."""
    some = rng.choice(code.learned, min(AMONG, len(code.learned)), replace=False)
    return some[np.argsort(-(code.vectors[some] @ code.vectors[some[0]]))[:GROUP]]


def forward(model: Dual, rows: list[np.ndarray]) -> tuple[Tensor, Tensor, Tensor]:
    """Top states padded, [texts, longest, width], where there is a token, and embeddings of unit length."""
    order = np.argsort([len(row) for row in rows], kind="stable")
    batch = alone([rows[i] for i in order])
    with torch.autocast("cpu", torch.bfloat16):
        _, top = model.encoded(batch)
    back = np.argsort(order)
    vectors = normalize(means(top, batch), dim=1)[back]
    states, there = padded(top, batch.bounds, batch.lengths)
    return states[back], there[back], vectors


def late(model: Dual, asked: tuple[Tensor, Tensor], rows: list[np.ndarray], answered: tuple[Tensor, Tensor]) -> Tensor:
    """The late opinion of every question on every answer of its group, [questions, answers of the group]."""
    (q, q_there), (d, d_there) = asked, answered
    tokens = torch.zeros(q.shape[:2], dtype=torch.long)
    for line, row in zip(tokens, rows, strict=True):
        line[: len(row)] = torch.from_numpy(row.astype(np.int64))
    weights = model.head.pieces.weight[tokens, 0].clamp(min=0) * q_there
    with torch.autocast("cpu", torch.bfloat16):
        q, d = (normalize(model.head.late(each).float(), dim=2).bfloat16() for each in (q, d))
    found = []
    for start in range(0, len(q), GROUP):
        here = slice(start, start + GROUP)
        like = q[here].flatten(0, 1) @ d[here].flatten(0, 1).T
        like = like.view(GROUP, -1, GROUP, d.shape[1]).masked_fill(~d_there[here], -1).amax(3).float()
        found.append(
            torch.einsum("qtd,qt->qd", like, weights[here]) / weights[here].sum(1, keepdim=True).clamp(min=1e-6)
        )
    return torch.cat(found)


def drawn(pools: list[Pool], rng: random.Random) -> list[tuple[np.ndarray, np.ndarray]]:
    """Texts of any source but code, with their states: larger sources more often, but less than their size."""
    rest = [pool for pool in pools if kin(pool.name) != CODE]
    picked = rng.choices(rest, [len(pool.bounds) ** 0.5 for pool in rest], k=KEPT)
    return [pool.text(rng.randrange(len(pool.bounds) - 1)) for pool in picked]


def losses(model: Dual, code: Code, picked: np.ndarray, kept: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, Tensor]:
    """The parts of the loss, weighted. picked: questions, group after group; kept: texts and states that must stay."""
    asked, answered = [code.asked[i] for i in picked], [code.answered[i] for i in picked]
    q, q_there, q_vectors = forward(model, asked)
    d, d_there, d_vectors = forward(model, answered)
    old = torch.from_numpy(code.vectors[picked])
    hidden = (old @ old.T > ALIKE).fill_diagonal_(False)
    cosines = (SCALE * q_vectors @ d_vectors.T).masked_fill(hidden, -1e4)
    right = torch.arange(len(picked))
    places = torch.arange(GROUP).repeat(GROUPS)
    near = torch.cat([hidden[s : s + GROUP, s : s + GROUP] for s in range(0, len(picked), GROUP)])
    lates = (SCALE * late(model, (q, q_there), asked, (d, d_there))).masked_fill(near, -1e4)
    top, there, vectors = forward(model, [tokens for tokens, _ in kept])
    states = [torch.from_numpy(state[:, state.shape[1] // 2 :].astype(np.float32)) for _, state in kept]
    before = normalize(torch.stack([state.mean(0) for state in states]), dim=1)
    apart = 1 - cosine_similarity(top[there].float(), torch.cat(states), dim=1)
    return {
        "cosine": (cross_entropy(cosines, right) + cross_entropy(cosines.T, right)) / 2,
        "late": LATE * cross_entropy(lates, places),
        "stay": STAY * ((1 - (vectors * before).sum(1)).mean() + apart.mean()),
    }


@torch.inference_mode()
def dev(model: Dual, code: Code, pools: list[Pool]) -> str:
    """Reciprocal rank of held-out functions among them all; nDCG@10 of the cosine on other sources' held-out lists."""
    asked, answered = (forward(model, rows[:DEV])[2] for rows in (code.asked, code.answered))
    scores = asked @ answered.T
    rank = (scores > scores.diagonal()[:, None]).sum(1) + 1
    told = []
    for pool in pools:
        found = []
        for i in range(min(10, pool.held_out)):
            rows = [pool.text(i)[0], *(pool.text(pool.queries + n)[0] for n in pool.documents[i])]
            vectors = forward(model, rows)[2]
            if pool.label[i].any():
                found.append(ndcg((vectors[1:] @ vectors[0]).numpy(), pool.label[i]))
        told.append(float(np.mean(found)))
    code_too = " ".join(f"{p.name} {told[i]:.3f}" for i, p in enumerate(pools) if kin(p.name) == CODE)
    return (
        f"functions {(1 / rank).mean():.4f}; cosine on lists of other sources {np.mean(told):.4f}, of them {code_too}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--code", type=Path, required=True, help="folder that functions.py wrote")
    parser.add_argument("--states", type=Path, required=True)
    parser.add_argument("--candidates", type=Path, required=True)
    parser.add_argument(
        "--layers",
        choices=("top", "all"),
        default="all",
        help="of the sides that learn: those above the branch, or all",
    )
    parser.add_argument("--minutes", type=float, required=True, help="of training; the schedule ends with them")
    parser.add_argument("--share", type=float, default=0.5, help="of what was learned that is kept in the end")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(7)
    checkpoint = read_checkpoint(options.model)
    model = checkpoint.model.float()
    assert isinstance(model, Dual)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    begin = time.perf_counter()
    code = read_code(options.code, checkpoint, model)
    print(f"{len(code.asked)} functions read, {time.perf_counter() - begin:.0f} s", flush=True)
    files = sorted(options.candidates.glob("en_*.npz"))
    pools = [Pool.open(options.states / file.name, dict(np.load(file))) for file in files]
    model.requires_grad_(False)
    learn = model.blocks[model.branch if options.layers == "top" else 0 : model.layers]
    parameters = [p for module in (*learn, model.head.late) for p in module.parameters()]
    for p in parameters:
        p.requires_grad_(True)
    groups = [{"params": parameters, "rate": RATES[options.layers]}]
    optimizer = torch.optim.AdamW(groups, lr=1e-5, weight_decay=0.01, betas=(0.9, 0.98))
    progress = Progress(options.out / "state.pt")
    rng, other = np.random.default_rng(7), random.Random(7)
    if progress.resume(model, optimizer):
        rng, other = np.random.default_rng(progress.step), random.Random(progress.step)
    else:
        print(dev(model, code, pools), flush=True)

    def step() -> tuple[dict[str, Tensor], int]:
        picked = np.concatenate([group(code, rng) for _ in range(GROUPS)])
        return losses(model, code, picked, drawn(pools, other)), len(picked)

    train(model, optimizer, progress, options.minutes, step)
    print(dev(model, code, pools), flush=True)
    model.load_state_dict(between(before, model.state_dict(), options.share))
    print(dev(model, code, pools), flush=True)
    write_model(checkpoint, model.state_dict(), options.out / "model", dtype="float16")


if __name__ == "__main__":
    main()
