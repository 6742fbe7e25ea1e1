"""Train the cross layers of a dual model: what it knows at the start, with labels on top.

    python train.py --model work/start --states work/states --candidates work/candidates --out work/run --pairs 150000

Embeddings and the layers of each side stay as they are: their states are read from --states, which makes a step many
times as fast. What cosine, lexical and late count is fitted first (blend.py). The teacher of every list is their blend
as its own source would have it, with a bonus for labelled answers: what is not taught stays as it was. state.pt in
--out is resumed from, given the same options; the finished model is --out/model.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from blend import calibrate, fit, of_source, shift_of
from lists import DEV_GROUP, Lists, Pool, gather, open_pools, sample, scores_of
from measures import ndcg
from progress import Progress
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, kl_div, log_softmax, softmax, softplus

from crossrank.checkpoint import read_checkpoint
from crossrank.models.dual import Dual
from crossrank.train.saving import write_model

BONUS = 5.0  # logits that the teacher adds for a label
UNSURE = 2.0  # an unlabelled document that it puts so far above the best answer may well be right: it gets no label
RATE, MIX_RATE = 2e-4, 2e-3  # MIX_RATE: of what opinions count, and of the bias
WARM_UP, DECAY = 0.02, 0.5  # parts of the run, its first and its last
REPORT_STEPS = 50
SETTLED = 40  # steps' worth of lists that the bias is fitted to


def teacher_of(lists: Lists, counts: dict[str, Tensor]) -> Tensor:
    """The opinions of the model as it starts, blended as each list's source would have it, [lists, documents]."""
    return (lists.opinions * torch.stack([counts[name] for name in lists.sources])[:, None]).sum(2)


def loss_of(scores: Tensor, teacher: Tensor, lists: Lists, done: float) -> dict[str, Tensor]:
    """The parts of the loss, weighted. `done` is progress from 0 to 1: labels count for more towards the end."""
    label = lists.label.float()
    best = teacher.masked_fill(~lists.label, -1e4).amax(1, keepdim=True)
    unsure = ~lists.label & (teacher >= best + UNSURE) & lists.label.any(1, keepdim=True)
    target = softmax(teacher + BONUS * label, dim=1)
    one_of = label / label.sum(1, keepdim=True).clamp(min=1)
    listed = log_softmax(scores.masked_fill(unsure, -1e4), dim=1)
    apart = binary_cross_entropy_with_logits(scores, label, weight=1.0 + 2.0 * label, reduction="none")
    return {
        "teacher": kl_div(log_softmax(scores, 1), target, reduction="batchmean"),
        "list": (0.2 + 0.4 * done) * -(one_of * listed.clamp(min=-50)).sum(1).mean(),
        "pair": (0.1 + 0.3 * done) * apart[~unsure].mean(),
    }


@torch.inference_mode()
def held_out(model: Dual, pools: list[Pool], most: int) -> str:
    """nDCG@10 on held-out lists: the model, without its cross head, and the cosine; a line a source, and the means."""
    lines, groups = [], defaultdict(list)
    for pool in pools:
        rows = []
        for i in range(min(most, pool.held_out)):
            if pool.label[i].any():
                lists = gather([(pool, i, list(range(DEV_GROUP)))])
                matching = lists.opinions[0] @ softplus(model.head.mix(torch.from_numpy(pool.asked[i])))
                judged = (scores_of(model, lists)[0], matching, lists.opinions[0, :, 0])
                rows.append([ndcg(scores.numpy(), pool.label[i]) for scores in judged])
        if rows:
            groups[pool.name.partition("_")[0]].append(np.mean(rows, axis=0))
            lines.append(f"  {pool.name:28s} " + " ".join(f"{value:.3f}" for value in np.mean(rows, axis=0)))
    means = [f"{name} {' '.join(f'{v:.4f}' for v in np.mean(rows, axis=0))}" for name, rows in groups.items()]
    return "\n".join(["held out: model, matching alone, cosine: " + "; ".join(means), *lines])


def optimizer_of(model: Dual) -> torch.optim.AdamW:
    """AdamW over the cross layers and the head; the rest of the model, and what pieces weigh, is left as it is."""
    model.requires_grad_(False)
    for module in (*model.blocks[model.layers :], model.marks, model.head.cross, model.head.late, model.head.mix):
        module.requires_grad_(True)
    scale = [model.head.mix.weight, model.head.mix.bias, model.head.cross.out.bias]
    rest = [p for p in model.parameters() if p.requires_grad and all(p is not each for each in scale)]
    groups = [{"params": rest, "rate": RATE}, {"params": scale, "rate": MIX_RATE, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=RATE, weight_decay=0.01, betas=(0.9, 0.98))


@torch.no_grad()
def temper(model: Dual, share: float, pools: list[Pool], weights: list[float], rng: random.Random) -> None:
    """Keep a share of what the cross layers say, and fit the bias anew."""
    out = model.head.cross.out
    out.weight.mul_(share)
    out.bias.zero_()
    drawn = [sample(pools, weights, rng) for _ in range(SETTLED)]
    scores = torch.cat([scores_of(model, lists).flatten() for lists in drawn])
    out.bias.fill_(shift_of(scores, torch.cat([lists.label.flatten() for lists in drawn])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder that start.py wrote, or --out/model of a run")
    parser.add_argument("--states", type=Path, required=True, help="folder that states.py wrote with this model")
    parser.add_argument("--candidates", type=Path, required=True, help="folder that choose.py wrote")
    parser.add_argument("--weights", nargs="*", default=[], help="NAME=WEIGHT: draw a source so much more or less")
    parser.add_argument("--out", type=Path, required=True, help="folder for state.pt and the model")
    parser.add_argument("--pairs", type=int, required=True, help="pairs to train on; the schedule ends with them")
    parser.add_argument(
        "--share", type=float, default=1.0, help="of what the cross layers say that is kept in the end; default: all"
    )
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    rng = random.Random(options.seed)
    pools = open_pools(options.states, options.candidates)
    odds = dict(each.split("=") for each in options.weights)
    weights = [float(odds.get(pool.name, 1)) * len(pool) ** 0.75 for pool in pools]
    checkpoint = read_checkpoint(options.model)
    model = checkpoint.model
    assert isinstance(model, Dual)
    optimizer = optimizer_of(model)
    prior = softplus(model.head.mix.bias.detach())
    counts = {pool.name: of_source(pool, prior) for pool in pools}
    progress = Progress(options.out / "state.pt")
    if progress.resume(model, optimizer):
        rng.seed(options.seed + progress.step)
    else:
        used = [pool for pool, weight in zip(pools, weights, strict=True) if weight]
        fit(model.head.mix, used)
        calibrate(model, used)
        print(held_out(model, pools, 8).splitlines()[0], flush=True)
    while progress.pairs < options.pairs:
        begin = time.perf_counter()
        done = progress.pairs / options.pairs
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * min(1.0, done / WARM_UP + 0.05, (1 - done) / DECAY + 0.01)
        lists = sample(pools, weights, rng)
        parts = loss_of(scores_of(model, lists), teacher_of(lists, counts), lists, done)
        sum(parts.values()).backward()
        torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        progress.add(lists.label.numel(), time.perf_counter() - begin, parts)
        if progress.step % REPORT_STEPS == 0:
            print(f"{time.strftime('%H:%M:%S')} {progress.told(done)}", flush=True)
        if progress.due(options.pairs):
            progress.save(model, optimizer)
    if options.share != 1:
        temper(model, options.share, pools, weights, rng)
    write_model(checkpoint, model.state_dict(), options.out / "model", dtype="float16")
    print(held_out(model, pools, 12), flush=True)


if __name__ == "__main__":
    main()
