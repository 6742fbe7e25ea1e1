"""What cosine, lexical and late count, fitted to labels before anything else learns.

    python blend.py --model work/start --states work/states --candidates work/candidates

prints nDCG@10 on held-out lists: of each opinion alone, of start.py's constants, and of counts that the query decides,
fitted to all sources and to all but the group that the source is in. train.py begins with the last but one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from lists import Pool, open_pools
from measures import ndcg
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax, softplus

from crossrank.checkpoint import read_checkpoint
from crossrank.models.dual import Dual

STEPS, RATE = 300, 0.1
RIDGE = 3e-5  # how dear it is that queries differ in what they let opinions count
PRIOR = 2e-3  # how dear it is that counts differ from the start's

# Groups of sources that are alike, by words in their names: a fit that leaves a source out leaves its kin out too.
KIN = (
    "functions codenn whole",
    "operations metatool",
    "table sql",
    "medquad covid",
    "docs gitbugs awsdocs",
    "qa squad nq",
    "scitldr first halves",
)


def listwise(scores: Tensor, label: Tensor) -> Tensor:
    """The cross entropy of each list's answers, [lists, documents] -> scalar."""
    answers = label.float() / label.sum(1, keepdim=True).clamp(min=1)
    return -(answers * log_softmax(scores, dim=1)).sum(1).mean()


def learned(pool: Pool) -> tuple[Tensor, Tensor, Tensor]:
    """Opinions, labels and queries of a source that are not held out."""
    rows = slice(pool.held_out, None)
    return tuple(torch.from_numpy(each[rows]) for each in (pool.opinions, pool.label, pool.asked))


def of_source(pool: Pool, prior: Tensor) -> Tensor:
    """What each opinion counts in this source by its labels, [opinions]."""
    opinions, label, _ = learned(pool)
    shift = torch.zeros(len(prior), requires_grad=True)
    optimizer = torch.optim.Adam([shift], lr=0.05)
    for _ in range(STEPS):
        counts = prior * shift.exp()
        loss = listwise((opinions * counts).sum(2), label) + PRIOR * len(prior) * shift.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (prior * shift.exp()).detach()


def fit(mix: nn.Linear, pools: list[Pool], ridge: float = RIDGE) -> None:
    """Fit the weights of a head's mix in place, every source counting alike."""
    parts = [learned(pool) for pool in pools]
    start = mix.bias.detach().clone()
    with torch.enable_grad():
        optimizer = torch.optim.Adam(mix.parameters(), lr=RATE)
        for _ in range(STEPS):
            losses = [
                listwise((opinions * softplus(mix(asked))[:, None]).sum(2), label) for opinions, label, asked in parts
            ]
            apart = (mix.bias / start - 1).square().sum()
            loss = torch.stack(losses).mean() + ridge * mix.weight.square().sum() + PRIOR * apart
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def shift_of(scores: Tensor, label: Tensor) -> float:
    """What to add to scores for their sigmoids to be probabilities, an answer weighing as much as three others."""
    shift = torch.tensor(-scores.mean().item(), requires_grad=True)
    optimizer = torch.optim.LBFGS([shift], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = binary_cross_entropy_with_logits(scores + shift, label.float(), weight=1 + 2 * label)
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return shift.item()


def calibrate(model: Dual, pools: list[Pool]) -> None:
    """Set the head's bias so that sigmoids of the blend are probabilities, as far as labels tell."""
    scores, labels = [], []
    for pool in pools:
        opinions, label, asked = learned(pool)
        scores.append((opinions * softplus(model.head.mix(asked))[:, None]).sum(2).detach().flatten())
        labels.append(label.flatten())
    model.head.cross.out.bias.data.fill_(shift_of(torch.cat(scores), torch.cat(labels)))


def mean_ndcg(pool: Pool, counts: Tensor) -> float:
    """nDCG@10 on held-out lists where opinions count so much, [opinions] or [queries, opinions]."""
    held = pool.held_out
    scores = (torch.from_numpy(pool.opinions[:held]) * counts.reshape(-1, 1, 3)).sum(2).detach().numpy()
    return float(np.mean([ndcg(*each) for each in zip(scores, pool.label[:held], strict=True) if each[1].any()]))


def fitted(start: nn.Linear, pools: list[Pool], ridge: float) -> nn.Linear:
    mix = nn.Linear(start.in_features, start.out_features)
    mix.load_state_dict(start.state_dict())
    fit(mix, pools, ridge)
    return mix


def kin(name: str) -> str:
    """The group that a source belongs to; its own name if none."""
    return next((group for group in KIN if any(word in name for word in group.split())), name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder that start.py wrote")
    parser.add_argument("--states", type=Path, required=True, help="folder that states.py wrote with this model")
    parser.add_argument("--candidates", type=Path, required=True, help="folder that choose.py wrote")
    parser.add_argument("--ridge", type=float, default=RIDGE)
    options = parser.parse_args()
    model = read_checkpoint(options.model).model
    assert isinstance(model, Dual)
    pools = open_pools(options.states, options.candidates)
    start = model.head.mix
    prior = softplus(start.bias.detach())
    whole = fitted(start, pools, options.ridge)
    without = {
        group: fitted(start, [p for p in pools if kin(p.name) != group], options.ridge)
        for group in {kin(p.name) for p in pools}
    }
    rows = []
    print("held out: cosine, lexical, late | start, the source's own, by query, by query without its kin | counts")
    for pool in pools:
        asked = torch.from_numpy(pool.asked[: pool.held_out])
        own = of_source(pool, prior)
        ways = [*torch.eye(3), prior, own, softplus(whole(asked)), softplus(without[kin(pool.name)](asked))]
        rows.append([mean_ndcg(pool, counts) for counts in ways])
        told = [" ".join(f"{value:.3f}" for value in rows[-1][a:b]) for a, b in ((0, 3), (3, None))]
        print(f"  {pool.name:28s} {told[0]} | {told[1]} | " + " ".join(f"{v:.1f}" for v in own.tolist()))
    print("  mean " + " ".join(f"{value:.4f}" for value in np.mean(rows, axis=0)))


if __name__ == "__main__":
    main()
