"""Teach tiny-en what mini-en and several bi-encoders make of lists, and labels.

    python tiny.py --student FOLDER --model work/sides/model --library work/library.pt --out work/tiny \
        --minutes 3 --device cuda

The teacher of a list is the mean of two logits: mini-en's, and the bi-encoders' sum with words. Documents are cut so
that pairs have STRIDE tokens, twice that, and so on: attention by nearness then computes many pairs of one length at
once, none of it padding. Embeddings of words stay. state.pt in --out is resumed from; the model is --out/model.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax, mse_loss, softmax

sys.path.append(str(Path(__file__).resolve().parents[1] / "dual"))
from library import COLUMNS, Library, bounds_of, load, near, runs
from measures import ndcg
from progress import Progress
from sides import BONUS, Step, judge, lists, odds_of, sample, step_of, whole_of

from crossrank.batch import Packed
from crossrank.checkpoint import read_checkpoint
from crossrank.models.dual import Dual
from crossrank.train.saving import write_model

RATE = 3e-4
WARM_UP, DECAY = 0.04, 0.7  # parts of the run, its first and its last
LABELS, LOGITS = 0.3, 0.02  # weights beside the list's divergence from the teacher
STRIDE = 8  # tokens
REPORT_SECONDS = 15
JUDGED = 40  # of the lists of a source that are kept from training


def pairs_of(library: Library, step: Step) -> tuple[Packed, Tensor]:
    """Every pair as BERT frames it, equal lengths side by side, and where each lies in that order."""
    device = library.tokens.device
    asked = np.repeat(library.lengths[step.queries], step.documents.shape[1])
    documents = step.documents.reshape(-1)
    queries = np.repeat(step.queries, step.documents.shape[1])
    # A document stands here without its own first token.
    whole = asked + np.minimum(library.lengths[documents], step.most) - 1
    lengths = np.where(whole - asked > STRIDE, whole - whole % STRIDE, whole)
    lengths = np.maximum(lengths, asked + 1)
    order = np.argsort(-lengths, kind="stable")
    queries, documents, lengths, splits = queries[order], documents[order], lengths[order], asked[order]
    starts = np.stack([library.offsets[queries], library.offsets[documents] + 1], 1).reshape(-1)
    segments = np.stack([splits, lengths - splits], 1).reshape(-1)
    places, _ = runs(torch.from_numpy(starts).to(device), bounds_of(segments, device))
    bounds = bounds_of(lengths, device)
    _, positions = runs(bounds[:-1].long(), bounds)
    tokens = library.tokens[places]
    tokens[bounds[1:].long() - 1] = library.closing
    split = torch.from_numpy(splits).to(device).repeat_interleave(bounds.diff().long(), output_size=len(places))
    batch = Packed(
        tokens=tokens,
        positions=positions,
        types=(positions >= split).long(),
        bounds=bounds,
        lengths=tuple(lengths.tolist()),
        splits=tuple(splits.tolist()),
    )
    return batch, torch.from_numpy(np.argsort(order)).to(device)


def scores_of(model: nn.Module, library: Library, step: Step) -> Tensor:
    """Logits, [lists, documents]."""
    batch, places = pairs_of(library, step)
    with torch.autocast(batch.tokens.device.type, torch.bfloat16):
        scores: Tensor = model(batch)
    return scores.float()[places].view(step.documents.shape)


@torch.no_grad()
def wanted(teacher: Dual, library: Library, step: Step, whole: Tensor) -> Tensor:
    """The teacher's logits: the words' share of them is the same in both."""
    judged = judge(teacher, library, step, cross=True)
    dense = near(library, step.queries, step.documents)
    blend = dense * whole[0] + judged.opinions[:, :, 1] * whole[1]
    own = judged.matching + judged.cross + teacher.head.cross.out.bias
    # The sum has no scale of its own beyond a list: it takes mini-en's middle.
    return (own + blend - blend.mean(1, keepdim=True) + own.mean(1, keepdim=True)) / 2


@torch.inference_mode()
def held_out(model: nn.Module, teacher: Dual, library: Library) -> str:
    """Mean nDCG@10 on lists kept from training, of the student and of mini-en."""
    rows: dict[bool, list[np.ndarray]] = defaultdict(list)
    for shelf in library.shelves:
        numbers = np.arange(shelf.first, shelf.first + min(JUDGED, shelf.held_out))
        numbers = numbers[library.label[numbers].any(1)]
        if not shelf.labelled or not len(numbers):
            continue
        step = step_of(library, numbers, np.tile(np.arange(COLUMNS), (len(numbers), 1)), 224)
        _, matching, cross = lists(teacher, library, numbers)
        ways = [way.float().cpu().numpy() for way in (scores_of(model, library, step), matching + cross)]
        shown, label = library.shown[numbers], library.label[numbers]
        values = [[ndcg(way[i][shown[i]], label[i][shown[i]]) for way in ways] for i in range(len(numbers))]
        rows[shelf.unseen].append(np.mean(values, axis=0))
    means = {unseen: " ".join(f"{value:.4f}" for value in np.mean(found, axis=0)) for unseen, found in rows.items()}
    return "; ".join(
        f"{'not seen' if unseen else 'held out'}: tiny-en, mini-en {told}" for unseen, told in means.items()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", type=Path, required=True, help="folder of tiny-en so far")
    parser.add_argument("--model", type=Path, required=True, help="folder of mini-en")
    parser.add_argument("--library", type=Path, required=True, help="file that library.py wrote")
    parser.add_argument("--minutes", type=float, required=True, help="of training; the schedule ends with them")
    parser.add_argument("--queries", type=int, default=128, help="of a step")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, required=True, help="folder for state.pt and the model")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(7)
    rng = np.random.default_rng(11)
    device = torch.device(options.device)
    dual = read_checkpoint(options.model)
    library = load(options.library, device)
    teacher = dual.model.float().to(device)
    assert isinstance(teacher, Dual)
    teacher.requires_grad_(False)
    whole = whole_of(teacher, library)
    checkpoint = read_checkpoint(options.student)
    model = checkpoint.model.float().to(device)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("embeddings.words" not in name)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, weight_decay=0.01)
    progress = Progress(options.out / "state.pt")
    if progress.resume(model, optimizer):
        rng = np.random.default_rng(progress.step)
    else:
        print(held_out(model, teacher, library), flush=True)
    odds, running, reported = odds_of(library), defaultdict[str, float](float), 0.0
    while progress.spent < 60 * options.minutes:
        begin = time.perf_counter()
        done = progress.spent / (60 * options.minutes)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, done / WARM_UP + 0.02, (1 - done) / DECAY + 0.01)
        step = sample(library, odds, options.queries, rng)
        taught = wanted(teacher, library, step, whole)
        scores = scores_of(model, library, step)
        hidden, label = ~step.shown, step.label.float()
        target = softmax((taught + BONUS * label).masked_fill(hidden, -1e4), 1)
        answers = label / label.sum(1, keepdim=True).clamp(min=1)
        listed = log_softmax(scores.masked_fill(hidden, -1e4), 1)
        parts = {
            "teacher": kl_div(listed, target, reduction="batchmean"),
            "labels": LABELS * -(answers * listed.clamp(min=-50)).sum(1).mean(),
            "logits": LOGITS * mse_loss(scores, taught.clamp(-12, 12)),
        }
        torch.stack(list(parts.values())).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        for name, value in parts.items():
            running[name] += (value.item() - running[name]) / min(progress.step + 1, 50)
        progress.add(step.documents.size, time.perf_counter() - begin)
        if progress.spent - reported > REPORT_SECONDS:
            reported = progress.spent
            terms = " ".join(f"{name} {value:.3f}" for name, value in running.items())
            print(f"{progress} {done:.3f} | {terms}", flush=True)
        if progress.due():
            progress.save(model, optimizer)
    progress.save(model, optimizer)
    print(held_out(model, teacher, library), flush=True)
    write_model(checkpoint, model.state_dict(), options.out / "model", dtype="float16")


if __name__ == "__main__":
    main()
