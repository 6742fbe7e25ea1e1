"""Distil tiny-en, a JinaBERT of four layers that reads 8,192 tokens, out of a stock cross-encoder.

    crossrank student work/teacher --jinabert --layers 4 --inner 1024 --into work/student
    python distil.py --teacher work/teacher --student work/student --data work/candidates --out work/run --pairs 58000

`crossrank student` carries over what it can; attention by nearness in place of positions is what the student has to
learn. Four things make that easier:
1. The heads of each layer are put in the order of how far they look in the teacher, the nearest under ALiBi's steepest
   slope. A BERT computes the same with its heads in any order.
2. Slopes start at zero, where the student is a BERT without positions, and rise to what ALiBi has.
3. The teacher's states teach fastest: one label a list says little, the states of three layers 384 numbers a token
   (TinyBERT, Jiao et al. 2020, https://arxiv.org/abs/1909.10351). So at first each layer of the student is drawn to the
   states of the teacher's layer that it was copied from, later the scores alone count: the teacher's distribution over
   a list, and its logits, so that a score keeps its meaning. Labels are not looked at.
4. The gates' constant is exact in float32 alone, and lost in a bfloat16 run where it is a small difference of large
   numbers. There it is fitted anew, to the teacher's states with the rounding's noise (a ridge regression).

state.pt in --out is resumed from; the finished model is in --out/model.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax, mse_loss, softmax

sys.path.append(str(Path(__file__).resolve().parents[1] / "dual"))
import train as stock
from measures import ndcg
from progress import Progress

from crossrank.batch import Packed, pack
from crossrank.checkpoint import Checkpoint, read_checkpoint
from crossrank.hub import find
from crossrank.models.jinabert import Block
from crossrank.train.saving import write_model
from crossrank.train.students import spread

RATE = 4e-4
WARM_UP, DECAY = 0.03, 0.5  # parts of the run, its first and its last
OPENING = 0.25  # of the run, in which the slopes rise
STATES, LOGITS = 6.0, 0.05  # weights beside the list's divergence; STATES falls to a tenth
# Tokens that documents of a step are cut to, and how often. The longest is what the candidates hold; far beyond it
# nothing but ALiBi's extrapolation helps.
LENGTHS, ODDS = (48, 80, 128, 220, 380), (0.3, 0.25, 0.2, 0.17, 0.08)
TOKENS = 5000  # a step, about
LOOKED_AT = 4  # lists of each source that say how far heads look, and fit the gates
ROUNDING = 2.0**-9  # of bfloat16
WINDOW = 256  # tokens of a pair that serving reads at once unless told otherwise: more ranked worse
REPORT_STEPS = 20


def batch_of(checkpoint: Checkpoint, pairs: list[stock.TokenPair]) -> tuple[Packed, Tensor]:
    """The pairs packed, equal lengths side by side, and where each of them lies in the packed order."""
    filled = [checkpoint.template.fill(*(np.array(side, dtype=np.int32) for side in pair)) for pair in pairs]
    order = sorted(range(len(filled)), key=lambda i: -len(filled[i]))
    return pack([filled[i] for i in order]), torch.tensor(order).argsort()


def scores_and_states(model: nn.Module, batch: Packed) -> tuple[Tensor, list[Tensor]]:
    """Logits in packed order, and the states of every token after each layer but the last."""
    with torch.autocast("cpu", torch.bfloat16):
        x, states = model.embeddings(batch), []
        for block in model.blocks[:-1]:
            x = block(x, batch)
            states.append(x)
        return model.head(model.blocks[-1].first(x, batch)), states


def sample(pools: list[stock.Pool], rng: random.Random) -> stock.Lists:
    """One step's lists: of each query some of its candidates at random, answers or not."""
    odds = [stock.WEIGHT.get(pool.name, 1.0) * len(pool) ** 0.75 for pool in pools]
    most = rng.choices(LENGTHS, ODDS)[0]
    picks = []
    for pool in rng.choices(pools, odds, k=max(2, min(8, TOKENS // (stock.GROUP * (most + 24))))):
        i = rng.randrange(stock.HELD_OUT, len(pool))
        picks.append((pool, i, sorted(rng.sample(range(pool.arrays["candidates"].shape[1]), stock.GROUP))))
    return stock.gather(picks, most)


@torch.no_grad()
def look(teacher: Checkpoint, pairs: list[stock.TokenPair]) -> tuple[Tensor, list[Tensor]]:
    """How far each head looks, [layers, heads], and what each layer's feed-forward reads, [tokens, width] a layer.

    The first is the mean distance of what a head attends to, in parts of the sequence. Of the last layer both are from
    [CLS] alone: nothing else of it is read.
    """
    batch, _ = batch_of(teacher, pairs)
    model: Any = teacher.model
    x, found, read = model.embeddings(batch), [], []
    for block in model.blocks:
        attention = block.attention
        keys, _ = attention.key_value(x).chunk(2, -1)
        both = [side.unflatten(-1, (attention.heads, -1)).transpose(0, 1) for side in (attention.query(x), keys)]
        total = torch.zeros(attention.heads)
        for start, length in zip(batch.first.tolist(), batch.lengths, strict=True):
            query, key = (side[:, start : start + length] for side in both)
            looks = 1 if block is model.blocks[-1] else length
            weight = softmax(query[:, :looks] @ key.mT / query.shape[-1] ** 0.5, -1)
            distance = (torch.arange(looks)[:, None] - torch.arange(length)).abs() / length
            total += (weight * distance).sum(-1).mean(-1)
        found.append(total / len(pairs))
        inputs = block.attention_norm(x + attention(x, batch))
        read.append(inputs[batch.first] if block is model.blocks[-1] else inputs)
        x = block(x, batch)
    return torch.stack(found), read


@torch.no_grad()
def order_heads(block: Block, reach: Tensor) -> None:
    """Give the head that looks least far the steepest slope, and so on; what the heads compute stays."""
    slopes, attention = torch.tensor(block.slopes), block.attention
    order = torch.empty(len(slopes), dtype=torch.long)
    order[slopes.argsort(descending=True)] = reach.argsort()
    rows = torch.arange(attention.query.out_features).view(len(slopes), -1)[order].flatten()
    for linear, places in ((attention.query, rows), (attention.key_value, torch.cat([rows, rows + len(rows)]))):
        linear.weight.copy_(linear.weight[places])
        linear.bias.copy_(linear.bias[places])
    attention.out.weight.copy_(attention.out.weight[:, rows])


@torch.no_grad()
def settle_gate(block: Block, old: Any, inputs: Tensor) -> None:
    """Fit the row u with u . y = 1 to `inputs` y of the teacher's layer `old`, [tokens, width], rounding and all."""
    before = block.up.weight[-1].double()
    y = inputs.double()
    noise = (ROUNDING * y).square().mean(0)
    row = torch.linalg.solve(y.mT @ y / len(y) + noise.diag(), y.mean(0))
    # A gate is a neuron's row and its bias times u; the part across u says whose it is.
    gates, rows = (each.double() for each in (block.up.weight[: len(block.up.weight) // 2], old.up.weight))
    across = [each - torch.outer(each @ before, before) / before.dot(before) for each in (gates, rows)]
    bias = old.up.bias.double()[torch.cdist(*across).argmin(1)]
    block.up.weight.copy_(torch.cat([gates + torch.outer(bias, row - before), row.expand(len(gates), -1)]))


@torch.no_grad()
def held_out(student: Checkpoint, teacher: Checkpoint, pools: list[stock.Pool], queries: int) -> str:
    """Mean nDCG@10 on held-out lists: student, teacher, bi-encoder, BM25."""
    rows = []
    for pool in pools:
        lists = stock.gather([(pool, i, list(range(16))) for i in range(queries)], 220)
        scores = []
        for checkpoint in (student, teacher):
            batch, places = batch_of(checkpoint, lists.pairs)
            scores.append(scores_and_states(checkpoint.model, batch)[0].float()[places].view(queries, 16).numpy())
        scores += [pool.arrays[name][:queries, :16] for name in ("cosine", "bm25")]
        label = lists.label.numpy()
        rows.append([np.mean([ndcg(s, r) for s, r in zip(each, label, strict=True)]) for each in scores])
    means = " ".join(f"{value:.3f}" for value in np.mean(rows, axis=0))
    return f"held out: tiny-en | teacher, bi-encoder, BM25: {means} ({len(pools)} sources, {queries} queries each)"


def losses(checkpoint: Checkpoint, teacher: Checkpoint, lists: stock.Lists, layers: tuple[int, ...]) -> list[Tensor]:
    """Divergence of the lists, distance of the states (per number), distance of the logits."""
    batch, places = batch_of(checkpoint, lists.pairs)
    with torch.no_grad():
        wanted, shown = scores_and_states(teacher.model, batch)
    scores, states = scores_and_states(checkpoint.model, batch)
    scores, wanted = (each.float()[places].view(-1, stock.GROUP) for each in (scores, wanted))
    apart = [mse_loss(state.float(), shown[layer].float()) for state, layer in zip(states, layers, strict=False)]
    listed = kl_div(log_softmax(scores, 1), softmax(wanted, 1), reduction="batchmean")
    return [listed, torch.stack(apart).mean(), mse_loss(scores, wanted)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", type=Path, required=True, help="folder that `crossrank student` wrote")
    parser.add_argument("--teacher", type=Path, required=True, help="what it was built of, by export.py")
    parser.add_argument("--data", type=Path, required=True, help="folder that candidates.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for state.pt and the model")
    parser.add_argument("--pairs", type=int, required=True, help="pairs to train on; the schedule ends with them")
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    rng = random.Random(options.seed)
    pools = stock.open_pools(options.data)
    student, teacher = read_checkpoint(options.student), read_checkpoint(find(options.teacher))
    model: Any = student.model.float()
    teacher.model.float()
    assert isinstance(model.blocks[0], Block)
    model.embeddings.words.weight.requires_grad_(False)  # words that training never shows keep their meaning
    layers = spread(len(teacher.model.blocks), len(model.blocks))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, weight_decay=0.01)
    progress = Progress(options.out / "state.pt")
    if progress.resume(model, optimizer):
        rng.seed(options.seed + progress.step)
    else:
        picks = [(pool, i, list(range(4))) for pool in pools for i in rng.sample(range(len(pool)), LOOKED_AT)]
        reach, inputs = look(teacher, stock.gather(picks, 128).pairs)
        for block, layer in zip(model.blocks, layers, strict=True):
            order_heads(block, reach[layer])
            settle_gate(block, teacher.model.blocks[layer], inputs[layer])
    steep = model.blocks[0].slopes
    while progress.pairs < options.pairs:
        begin = time.perf_counter()
        done = progress.pairs / options.pairs
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, done / WARM_UP + 0.02, (1 - done) / DECAY + 0.01)
        for block in model.blocks:
            block.slopes = tuple(slope * min(1.0, done / OPENING) for slope in steep)
        lists = sample(pools, rng)
        parts = losses(student, teacher, lists, layers)
        (parts[0] + max(0.1, 1 - done / 0.6) * STATES * parts[1] + LOGITS * parts[2]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        named = dict(zip(("list", "states", "logits"), parts, strict=True))
        progress.add(len(lists.pairs), time.perf_counter() - begin, named)
        if progress.step % REPORT_STEPS == 0:
            print(progress.told(done), flush=True)
        if progress.due(options.pairs):
            progress.save(model, optimizer)
    for block in model.blocks:
        block.slopes = steep
    print(held_out(student, teacher, pools, 8), flush=True)
    write_model(student, model.state_dict(), options.out / "model", dtype="float16")
    told = options.out / "model" / "tokenizer_config.json"
    served = json.loads(told.read_text(encoding="utf-8")) | {"model_max_length": WINDOW}
    told.write_text(json.dumps(served, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
