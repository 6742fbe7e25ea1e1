"""Another course for tiny-en: mini-en's scores over the lists that mini-en learned from, and their labels.

    python again.py --student FOLDER --teacher work/run/model --states work/states --candidates work/candidates \
        --out work/again --pairs 60000

States and candidates are mini-en's (../dual): both models read the same pieces, and the teacher's lower layers are
computed already. With --beside the weights are averaged with those of runs with other seeds. With --share the model
that is written lies between the student as it was and as it has learned. state.pt in --out is resumed from; the
finished model is --out/model.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax, mse_loss, softmax

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "dual"))
from blend import listwise
from lists import DEV_GROUP, Lists, Pool, gather, open_pools, sample, scores_of
from measures import ndcg
from progress import Progress, mean

from crossrank.batch import Filled, pack
from crossrank.checkpoint import read_checkpoint
from crossrank.models.dual import Dual
from crossrank.train.saving import between, write_model

RATE = 1.5e-4
WARM_UP, DECAY = 0.03, 0.6  # parts of the run, its first and its last
LABELS, LOGITS = 0.3, 0.02  # weights beside the list's divergence from the teacher
REPORT_STEPS = 50


def student_scores(model: nn.Module, lists: Lists, fast: bool = False) -> Tensor:
    """Logits, [lists, documents], of pairs as BERT frames them: without the document's own first token.

    fast: compute in bfloat16.
    """
    batch = lists.batch
    tokens, starts = batch.tokens.numpy(), batch.first.tolist()
    filled = []
    for start, length, split in zip(starts, batch.lengths, batch.splits, strict=True):
        pair = tokens[start : start + length]
        filled.append(Filled(tokens=np.delete(pair, split).astype(np.int32), split=split))
    with torch.autocast("cpu", torch.bfloat16, enabled=fast):
        scores: Tensor = model(pack(filled))
    return scores.float().view(lists.label.shape)


@torch.inference_mode()
def held_out(student: nn.Module, teacher: Dual, pools: list[Pool], most: int) -> str:
    """Mean nDCG@10 on held-out lists of the student and of the teacher, of sources that have labels."""
    rows = []
    for pool in pools:
        lists = [gather([(pool, i, list(range(DEV_GROUP)))]) for i in range(min(most, pool.held_out))]
        judged = [each for each in lists if each.label.any()]
        if not judged:
            continue
        scores = ((student_scores(student, each)[0], scores_of(teacher, each)[0]) for each in judged)
        found = [
            [ndcg(one.numpy(), each.label[0].numpy()) for one in both]
            for both, each in zip(scores, judged, strict=True)
        ]
        rows.append(np.mean(found, axis=0))
    if not rows:
        return "held out: no labels"
    return f"held out: tiny-en, its teacher: {' '.join(f'{value:.4f}' for value in np.mean(rows, axis=0))}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", required=True, help="folder of tiny-en so far: distil.py's, or the one that ships")
    parser.add_argument("--teacher", type=Path, required=True, help="folder of mini-en")
    parser.add_argument("--states", type=Path, required=True, help="folder that ../dual/states.py wrote")
    parser.add_argument("--candidates", type=Path, required=True, help="folder that ../dual/choose.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for state.pt and the model")
    parser.add_argument("--pairs", type=int, required=True, help="pairs to train on; the schedule ends with them")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="bfloat16 is twice as fast where the CPU computes it: AVX512-BF16, AMX",
    )
    parser.add_argument(
        "--beside", type=Path, nargs="*", default=[], help="state.pt of the same course with other seeds"
    )
    parser.add_argument("--share", type=float, default=1.0, help="of what was learned that is kept in the end")
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    absent = [str(path) for path in options.beside if not path.exists()]
    if absent:
        parser.error(f"--beside: no such file: {', '.join(absent)}")
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    rng = random.Random(options.seed)
    pools = open_pools(options.states, options.candidates)
    weights = [len(pool) ** 0.75 for pool in pools]
    checkpoint, teacher = read_checkpoint(Path(options.student)), read_checkpoint(options.teacher).model
    assert isinstance(teacher, Dual)
    teacher.float()
    if options.dtype == "bfloat16":
        teacher.blocks.bfloat16()
    model = checkpoint.model.float()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("embeddings.words" not in name)  # words that are not shown keep their meaning
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, weight_decay=0.01)
    progress = Progress(options.out / "state.pt")
    if progress.resume(model, optimizer):
        rng.seed(options.seed + progress.step)
    else:
        print(held_out(model, teacher, pools, 8), flush=True)
    while progress.pairs < options.pairs:
        begin = time.perf_counter()
        done = progress.pairs / options.pairs
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, done / WARM_UP + 0.05, (1 - done) / DECAY + 0.01)
        lists = sample(pools, weights, rng)
        with torch.no_grad():
            wanted = scores_of(teacher, lists)
        scores = student_scores(model, lists, options.dtype == "bfloat16")
        parts = {
            "teacher": kl_div(log_softmax(scores, 1), softmax(wanted, 1), reduction="batchmean"),
            "labels": LABELS * listwise(scores, lists.label),
            "logits": LOGITS * mse_loss(scores, wanted.clamp(-12, 12)),
        }
        torch.stack(list(parts.values())).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        progress.add(lists.label.numel(), time.perf_counter() - begin, parts)
        if progress.step % REPORT_STEPS == 0:
            print(f"{time.strftime('%H:%M:%S')} {progress.told(done)}", flush=True)
        if progress.due(options.pairs):
            progress.save(model, optimizer)
    model.load_state_dict(mean([progress.path, *options.beside]))
    model.load_state_dict(between(before, model.state_dict(), options.share))
    print(held_out(model, teacher, pools, 8), flush=True)
    write_model(checkpoint, model.state_dict(), options.out / "model", dtype="float16")


if __name__ == "__main__":
    main()
