"""Train mini-multilingual, a stage at a time: a stock BERT cross-encoder over XLM-R's pieces.

    python train.py --base work/base --data work/candidates --only en_ --out work/stage1 --pairs 60000
    python train.py --base work/base --data work/candidates --only cross_ en_ --start work/stage1 --out work/stage2 ...
    python train.py --base work/base --data work/candidates --start work/stage2 --out work/stage3 ...
    python train.py --base work/base --data work/mined work/candidates --start work/stage3 --out work/stage4 ...

What keeps a bi-encoder's knowledge is mini-en's (see ../mini-en/train.py), and so are batches, losses and the warm
start. Here the teacher's cosines are e5's less their centre; the stages after the first start from the one before and
hold nothing back. state.pt in --out is resumed from, given the same options; the finished model is in --out/model.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from base import BOS, EOS, PASSAGE, QUERY, embed_rows
from english import mini_en
from export import write_model
from tokenizers import Tokenizer
from transformers import BertForSequenceClassification, BertModel

training, warm, mean = mini_en("train"), mini_en("warm"), mini_en("export").mean
training.CLS, training.SEP = BOS, EOS  # its batches frame pairs with these two

# Twelve layers cost twice what mini-en's six do, so documents of a step are shorter, and windows as short when serving.
EARLY_ODDS, LATE_ODDS = (0.45, 0.35, 0.2, 0.0), (0.2, 0.3, 0.3, 0.2)
FIT_PAIRS = 1600  # that the last layer and the head are fitted on
RATE, HEAD_RATE = 8e-5, 2e-4  # of the first stage; later ones take a share
LATER = 0.6
ROWS = "bert.embeddings.word_embeddings.weight"
SAVE_SECONDS, REPORT_STEPS = 180, 20
# Questions and news across languages are few; titles and short descriptions are many and easy.
training.WEIGHT |= {"cross_afriqa": 2.0, "cross_ntrex": 1.5, "cross_debian": 0.7, "cross_titled": 0.5}


def start_model(base: Path) -> BertForSequenceClassification:
    """e5 with the types of its sides apart, embeddings that stay and no dropout."""
    model = BertForSequenceClassification.from_pretrained(base, num_labels=1, attn_implementation="eager")
    embeddings = model.bert.embeddings
    embeddings.word_embeddings.weight.requires_grad_(False)  # pieces that training never shows keep their meaning
    with torch.no_grad():
        types = embeddings.token_type_embeddings.weight
        apart = torch.nn.functional.normalize(types[1] - types[0], dim=0)
        types[1] = types[0] + training.TYPE_STEP * apart
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def warm_up(
    model: BertForSequenceClassification, base: Path, pools: list[Any], centre: np.ndarray, rng: random.Random
) -> None:
    """Write the last layer and the head so that the first score is e5's cosine, less its centre."""
    pairs = []
    for pool in pools:
        for i in rng.sample(range(len(pool)), min(FIT_PAIRS // len(pools) + 1, len(pool))):
            number = int(rng.choice(pool.arrays["candidates"][i]))
            pairs.append((pool.query(i), pool.document(number, 62)))
    states, sides = [], []
    for start in range(0, len(pairs), 32):
        batch = training.collate(pairs[start : start + 32], training.BIAS)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            kinds = batch.side.clamp(max=1)
            output = model.bert(batch.ids, token_type_ids=kinds, attention_mask=batch.mask, output_hidden_states=True)
        for state, side in zip(output.hidden_states[-2].float(), batch.side, strict=True):
            states.append(state[side < 2])
            sides.append(side[side < 2])
    e5 = BertModel.from_pretrained(base, add_pooling_layer=False).eval()
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    targets = []
    for side, prefix in enumerate((QUERY, PASSAGE)):
        before = tokenizer.encode(prefix.strip(), add_special_tokens=False).ids
        vectors = embed_rows(e5, [[BOS, *before, *pair[side], EOS] for pair in pairs]) - centre[side]
        targets.append(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    warm.write(model, *warm.fit(states, sides, (targets[0], targets[1])))


def open_pools(folders: list[Path], only: list[str]) -> list[Any]:
    """The sources whose names begin with one of `only`, large enough for some of their queries to be held out."""
    pools = [pool for folder in folders for pool in training.open_pools(folder)]
    named = [pool for pool in pools if any(pool.name.startswith(each) for each in only or [""])]
    return [pool for pool in named if len(pool) > 2 * training.HELD_OUT]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="folder that base.py wrote, or `crossrank trim` of it")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders that candidates.py wrote")
    parser.add_argument("--only", nargs="*", default=[], help="beginnings of the sources' names; default: all of them")
    parser.add_argument(
        "--start", type=Path, nargs="+", help="--out of the stage before, or of several, for their mean; default: e5"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for state.pt and the model")
    parser.add_argument("--pairs", type=int, required=True, help="pairs to train on; the schedule ends with them")
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    rng = random.Random(options.seed)
    pools = open_pools(options.data, options.only)
    if not pools:
        raise SystemExit(f"no source of more than {2 * training.HELD_OUT} queries begins with {options.only}")
    model = start_model(options.base)
    share = LATER if options.start else 1.0
    optimizer = training.adam(model, share * RATE, share * HEAD_RATE)
    progress = training.Progress(options.out / "state.pt")
    if progress.resume(model, optimizer):
        rng.seed(options.seed + progress.step)
    elif options.start:
        earlier = mean([folder / "state.pt" for folder in options.start])
        # Embeddings never train: they are --base's own, which may have more rows than the earlier run's.
        model.load_state_dict(earlier | {ROWS: model.state_dict()[ROWS]})
    else:
        # Languages that this stage does not train on are matched by e5 all the same.
        every = open_pools(options.data, [])
        warm_up(model, options.base, every, np.load(options.data[0] / "centre.npy"), rng)
    saved = progress.spent
    while progress.pairs < options.pairs:
        begin = time.perf_counter()
        done = progress.pairs / options.pairs
        bias = 0.0 if options.start else training.BIAS * max(0.0, 1 - done / 0.2)
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * min(1.0, done / 0.02 + 0.05, (1 - done) / 0.4 + 0.01)
        lists = training.sample(pools, rng, EARLY_ODDS if done < 0.3 and not options.start else LATE_ODDS)
        parts = training.loss_of(training.scores_of(model, lists.pairs, bias).view(-1, training.GROUP), lists, done)
        sum(parts.values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        progress.add(len(lists.pairs), time.perf_counter() - begin)
        if progress.step % REPORT_STEPS == 0:
            terms = " ".join(f"{key} {value.item():.3f}" for key, value in parts.items())
            print(f"{progress} {done:.3f} bias {bias:.1f} | {terms}", flush=True)
        if progress.spent - saved > SAVE_SECONDS or progress.pairs >= options.pairs:
            progress.save(model, optimizer)
            saved = progress.spent
    print(training.held_out(model, pools, 0.0, 8), flush=True)
    write_model(model.state_dict(), options.base, options.out / "model")


if __name__ == "__main__":
    main()
