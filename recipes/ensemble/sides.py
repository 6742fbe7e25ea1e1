"""Teach the layers of each side what several bi-encoders together make of text, and the cross layers labels too.

    python sides.py --model work/run/model --library work/library.pt --out work/sides --minutes 3.6 --device cuda

The teachers' sum of cosines, over a query's candidates and all other documents of a step, is what the student's cosine
and its late interaction learn: no labels, so that every text teaches. Sentences that several bi-encoders agree on are
ranked better by their sum than by any of them, and a student of one size keeps much of that (after Hinton, Vinyals and
Dean 2015, https://arxiv.org/abs/1503.02531). Labels teach the cross layers, which learn nothing back into the sides.
Embeddings of words stay: those not shown keep their meaning. So does what cosine, lexical and late count: counts fitted
anew to lists of the training sources ranked no better elsewhere.

state.pt in --out is resumed from; the finished model is --out/model.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax, normalize, softmax, softplus

sys.path.append(str(Path(__file__).resolve().parents[1] / "dual"))
from blend import shift_of
from course import train
from library import (
    COLUMNS,
    Library,
    bounds_of,
    fitted,
    kept_back,
    load,
    ndcgs,
    near,
    padded,
    paired,
    runs,
    taught,
)
from progress import Progress

from crossrank.batch import Packed
from crossrank.checkpoint import read_checkpoint
from crossrank.models.dual import Dual, means, overlap
from crossrank.train.saving import write_model

GROUP = 8  # documents of a query in a step
RATE, CROSS_RATE, SCALE_RATE = 1.5e-4, 2e-4, 2e-3
LENGTHS, ODDS = (96, 160, 224), (0.4, 0.35, 0.25)  # tokens that documents of a step are cut to, and how often
BONUS = 3.0  # logits that the teacher adds for a label
LATE, LABELS = 0.5, 0.3  # weights of losses
BLENDED = 100  # lists of a source, to which the teacher's counts are fitted
SETTLED = 40  # steps' worth of lists, to which the bias is
AT_ONCE = 32  # lists judged at a time


@dataclass(frozen=True, eq=False)
class Step:
    """numbers of queries, [lists], and of their documents, [lists, documents]; most: tokens of a document."""

    queries: np.ndarray
    documents: np.ndarray
    label: Tensor
    shown: Tensor
    most: int


@dataclass(frozen=True, eq=False)
class Judged:
    """What the student makes of a step: embeddings, opinions, [lists, documents, 3], and what cross layers add."""

    asked: Tensor
    answered: Tensor
    opinions: Tensor
    matching: Tensor
    cross: Tensor


def step_of(library: Library, queries: np.ndarray, columns: np.ndarray, most: int) -> Step:
    """Lists of some of each query's candidates."""
    device = library.tokens.device
    label, shown = (np.take_along_axis(each[queries], columns, 1) for each in (library.label, library.shown))
    return Step(
        queries=queries,
        documents=np.take_along_axis(library.columns[queries], columns, 1),
        label=torch.from_numpy(label).to(device),
        shown=torch.from_numpy(shown).to(device),
        most=most,
    )


def odds_of(library: Library) -> np.ndarray:
    """How often each source is drawn: large ones more, but less than their size."""
    odds = np.array([len(shelf) - shelf.held_out for shelf in library.shelves]) ** 0.6
    return odds / odds.sum()


def sample(library: Library, odds: np.ndarray, count: int, rng: np.random.Generator) -> Step:
    """One step's lists: candidates at random, answers twice as often, repetitions last."""
    picked = []
    for number, times in enumerate(rng.multinomial(count, odds)):
        shelf = library.shelves[number]
        picked.append(rng.integers(shelf.first + shelf.held_out, shelf.documents, size=times) if times else [])
    queries = np.concatenate(picked).astype(np.int64)
    keys = rng.random((len(queries), COLUMNS)) + 0.5 * library.label[queries] - 9.0 * ~library.shown[queries]
    columns = np.argsort(-keys, axis=1)[:, :GROUP]
    return step_of(library, queries, columns, int(rng.choice(LENGTHS, p=ODDS)))


def pairs_of(alone: Packed, lists: int, group: int) -> tuple[Tensor, Packed]:
    """Where each pair's tokens lie among those of `alone`, which has all queries first, and the pairs as a batch."""
    device = alone.tokens.device
    lengths = np.array(alone.lengths)
    order = np.stack([np.repeat(np.arange(lists), group), np.arange(lists, lists + lists * group)], 1).reshape(-1)
    segments = lengths[order]
    places, _ = runs(alone.bounds[torch.from_numpy(order).to(device)].long(), bounds_of(segments, device))
    pairs = segments.reshape(-1, 2)
    return places, paired(alone.tokens[places], pairs.sum(1), pairs[:, 0])


def judge(model: Dual, library: Library, step: Step) -> Judged:
    """Run the student over a step; every text is encoded once, however many pairs it is in."""
    lists, group = step.documents.shape
    alone = library.packed(np.concatenate([step.queries, step.documents.reshape(-1)]), step.most)
    head, device = model.head, alone.tokens.device
    with torch.autocast(device.type, torch.bfloat16):
        below, top = model.encoded(alone)
        units = normalize(head.late(top).float(), dim=1).bfloat16()
    places, pairs = pairs_of(alone, lists, group)
    found = overlap(pairs, head.pieces.weight[:, 0])
    vectors = normalize(means(top, alone), dim=1)
    asked, answered = vectors[:lists], vectors[lists:].view(lists, group, -1)
    cosine = (asked[:, None] * answered).sum(2)
    late = late_interaction(units, alone, lists, group, head.pieces.weight[:, 0])
    opinions = torch.stack([cosine, found.lexical.view(lists, group), late], 2)
    total = found.total.view(lists, group)[:, :1]
    with torch.no_grad():  # labels teach the cross layers alone
        counts = softplus(head.mix(torch.cat([asked, total.log1p()], 1)))
        matching = (opinions * counts[:, None]).sum(2)
    with torch.autocast(device.type, torch.bfloat16):
        x = below.detach()[places] + model.marks(pairs.types + 2 * found.met).bfloat16()
        for block in model.blocks[model.layers : -1]:
            x = block(x, pairs)
        first = model.blocks[-1].first(x, pairs)
    added = (head.cross(first.float()) - head.cross.out.bias).view(lists, group)
    return Judged(asked, answered, opinions, matching, added)


def late_interaction(units: Tensor, alone: Packed, lists: int, group: int, table: Tensor) -> Tensor:
    """The head's late opinion of each list's documents, [lists, documents], all lists at once."""
    tokens, there = padded(units, alone.bounds[: lists + 1], alone.lengths[:lists])
    others, shown = padded(units, alone.bounds[lists:], alone.lengths[lists:])
    names, _ = padded(alone.tokens, alone.bounds[: lists + 1], alone.lengths[:lists])
    longest = others.shape[1]
    like = tokens @ others.reshape(lists, group * longest, -1).mT
    like = like.view(lists, -1, group, longest).masked_fill(~shown.view(lists, 1, group, longest), -1).amax(3).float()
    weights = table[names].clamp(min=0) * there
    return torch.einsum("qtd,qt->qd", like, weights) / weights.sum(1, keepdim=True).clamp(min=1e-6)


def losses(judged: Judged, library: Library, step: Step, scales: Tensor, whole: Tensor) -> dict[str, Tensor]:
    """The parts of the loss, weighted. whole: what the teachers' sum and the words count in the logit taught."""
    device = library.tokens.device
    queries = torch.from_numpy(step.queries).to(device)
    documents = torch.from_numpy(step.documents).to(device)
    hidden = ~step.shown
    with torch.no_grad():
        everywhere = softmax(library.dense(queries, documents.reshape(-1)), 1)
        dense = near(library, step.queries, step.documents)
        listed = softmax(dense.masked_fill(hidden, -1e4), 1)
        label = step.label.float()
        logit = dense * whole[0] + judged.opinions[:, :, 1] * whole[1] + BONUS * label
        wanted = softmax(logit.masked_fill(hidden, -1e4), 1)
        answers = label / label.sum(1, keepdim=True).clamp(min=1)
    cosines = judged.asked @ judged.answered.flatten(0, 1).mT
    full = log_softmax((judged.matching + judged.cross).masked_fill(hidden, -1e4), 1)
    late = log_softmax((judged.opinions[:, :, 2] * scales[1]).masked_fill(hidden, -1e4), 1)
    return {
        "cosine": kl_div(log_softmax(cosines * scales[0], 1), everywhere, reduction="batchmean"),
        "late": LATE * kl_div(late, listed, reduction="batchmean"),
        "cross": kl_div(full, wanted, reduction="batchmean"),
        "labels": LABELS * -(answers * full.clamp(min=-50)).sum(1).mean(),
    }


@torch.inference_mode()
def lists(model: Dual, library: Library, numbers: np.ndarray) -> tuple[Tensor, ...]:
    """All candidates of these queries judged: opinions, matching, and what the cross layers add to it."""
    found = []
    for begin in range(0, len(numbers), AT_ONCE):
        queries = numbers[begin : begin + AT_ONCE]
        columns = np.tile(np.arange(COLUMNS), (len(queries), 1))
        step = step_of(library, queries, columns, max(LENGTHS))
        judged = judge(model, library, step)
        found.append((judged.opinions, judged.matching, judged.cross))
    return tuple(torch.cat(each) for each in zip(*found, strict=True))


def held_out(model: Dual, library: Library, whole: Tensor) -> str:
    """nDCG@10 on lists kept from training.

    Of the teachers' sum, and that with words; of cosine, late, matching; of matching with half of cross, with all.
    """
    rows: dict[bool, list[np.ndarray]] = defaultdict(list)
    lines = []
    for shelf, numbers in kept_back(library):
        opinions, matching, cross = lists(model, library, numbers)
        dense = near(library, numbers, library.columns[numbers])
        blend = dense * whole[0] + opinions[:, :, 1] * whole[1]
        ways = [dense, blend, opinions[:, :, 0], opinions[:, :, 2], matching, matching + cross / 2, matching + cross]
        rows[shelf.unseen].append(ndcgs(library, numbers, ways))
        told = " ".join(f"{value:.3f}" for value in rows[shelf.unseen][-1])
        lines.append(f"  {'unseen ' if shelf.unseen else ''}{shelf.name:28s} {told}")
    for unseen, found in rows.items():
        told = " ".join(f"{value:.4f}" for value in np.mean(found, axis=0))
        kind = "sources not seen" if unseen else "held out"
        lines.append(f"  {kind}: teachers, with words | cosine late matching half all: {told}")
    return "\n".join(lines)


def whole_of(model: Dual, library: Library) -> Tensor:
    """What the teachers' sum and the words count in one logit by the labels of all sources alike."""
    found, labels = [], []
    for numbers in taught(library, BLENDED):
        opinions, _, _ = lists(model, library, numbers)
        found.append(torch.stack([near(library, numbers, library.columns[numbers]), opinions[:, :, 1]], 2))
        labels.append(torch.from_numpy(library.label[numbers]).to(library.tokens.device))
    return fitted(found, labels, library.counts.new_tensor([0.8, 3.0]))


@torch.no_grad()
def settle(model: Dual, library: Library, share: float, rng: np.random.Generator) -> None:
    """Keep a share of the cross layers, and fit the bias to labelled lists as training draws them."""
    odds = odds_of(library) * [shelf.labelled for shelf in library.shelves]
    scores, labels = [], []
    for _ in range(SETTLED):
        step = sample(library, odds / odds.sum(), AT_ONCE, rng)
        judged = judge(model, library, step)
        scores.append((judged.matching + share * judged.cross)[step.shown].cpu())
        labels.append(step.label[step.shown].cpu())
    model.head.cross.out.weight.mul_(share)
    model.head.cross.out.bias.fill_(shift_of(torch.cat(scores), torch.cat(labels)))


class Learner(nn.Module):
    """The student, and the logarithms of what its cosine and its late interaction are multiplied by to be logits."""

    def __init__(self, model: Dual) -> None:
        super().__init__()
        self.model = model
        self.scales = nn.Parameter(torch.tensor([20.0, 20.0]).log())


def optimizer_of(learner: Learner) -> torch.optim.AdamW:
    model = learner.model.requires_grad_(False)
    cross = [*model.blocks[model.layers :], model.marks, model.head.cross]
    sides = [*model.blocks[: model.layers], model.head.late]
    groups = []
    for modules, rate in ((sides, RATE), (cross, CROSS_RATE)):
        parameters = [parameter.requires_grad_(True) for module in modules for parameter in module.parameters()]
        groups.append({"params": parameters, "rate": rate})
    groups.append({"params": [learner.scales], "rate": SCALE_RATE, "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=RATE, weight_decay=0.01, betas=(0.9, 0.98))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder that ../dual/train.py wrote")
    parser.add_argument("--library", type=Path, required=True, help="file that library.py wrote")
    parser.add_argument("--minutes", type=float, required=True, help="of training; the schedule ends with them")
    parser.add_argument("--queries", type=int, default=128, help="of a step")
    parser.add_argument("--share", type=float, default=0.5, help="of what the cross layers say that is kept in the end")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, required=True, help="folder for state.pt and the model")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(7)
    rng = np.random.default_rng(7)
    device = torch.device(options.device)
    checkpoint = read_checkpoint(options.model)
    begin = time.perf_counter()
    library = load(options.library, device)
    model = checkpoint.model.float().to(device)
    assert isinstance(model, Dual)
    learner = Learner(model).to(device)
    optimizer = optimizer_of(learner)
    whole = whole_of(model, library)
    print(f"teachers and words count {whole.tolist()}; {time.perf_counter() - begin:.0f} s", flush=True)
    print(held_out(model, library, whole), flush=True)
    odds = odds_of(library)
    progress = Progress(options.out / "state.pt")
    if progress.resume(learner, optimizer):
        rng = np.random.default_rng(progress.step)

    def step() -> tuple[dict[str, Tensor], int]:
        drawn = sample(library, odds, options.queries, rng)
        parts = losses(judge(model, library, drawn), library, drawn, learner.scales.exp(), whole)
        return parts, drawn.documents.size

    train(learner, optimizer, progress, options.minutes, step)
    print(held_out(model, library, whole), flush=True)
    settle(model, library, options.share, rng)
    print(held_out(model, library, whole), flush=True)
    write_model(checkpoint, model.state_dict(), options.out / "model", dtype="float16")


if __name__ == "__main__":
    main()
