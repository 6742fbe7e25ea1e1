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
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax, mse_loss, softmax

sys.path.append(str(Path(__file__).resolve().parents[1] / "dual"))
from course import train
from library import COLUMNS, Library, bounds_of, kept_back, load, ndcgs, near, paired, runs
from progress import Progress
from sides import BONUS, LENGTHS, Step, judge, lists, odds_of, sample, step_of, whole_of

from crossrank.batch import Packed
from crossrank.checkpoint import read_checkpoint
from crossrank.models.dual import Dual
from crossrank.train.saving import write_model

RATE = 3e-4
LABELS, LOGITS = 0.3, 0.02  # weights beside the list's divergence from the teacher
STRIDE = 8  # tokens


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
    batch = paired(library.tokens[places], lengths, splits)
    batch.tokens[batch.last.long()] = library.closing
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
    judged = judge(teacher, library, step)
    dense = near(library, step.queries, step.documents)
    blend = dense * whole[0] + judged.opinions[:, :, 1] * whole[1]
    own = judged.matching + judged.cross + teacher.head.cross.out.bias
    # The sum has no scale of its own beyond a list: it takes mini-en's middle.
    return (own + blend - blend.mean(1, keepdim=True) + own.mean(1, keepdim=True)) / 2


def losses(scores: Tensor, taught: Tensor, step: Step) -> dict[str, Tensor]:
    """The parts of the loss, weighted, of logits beside the teacher's, [lists, documents] both."""
    hidden, label = ~step.shown, step.label.float()
    target = softmax((taught + BONUS * label).masked_fill(hidden, -1e4), 1)
    answers = label / label.sum(1, keepdim=True).clamp(min=1)
    listed = log_softmax(scores.masked_fill(hidden, -1e4), 1)
    return {
        "teacher": kl_div(listed, target, reduction="batchmean"),
        "labels": LABELS * -(answers * listed.clamp(min=-50)).sum(1).mean(),
        "logits": LOGITS * mse_loss(scores, taught.clamp(-12, 12)),
    }


@torch.inference_mode()
def held_out(model: nn.Module, teacher: Dual, library: Library) -> str:
    """Mean nDCG@10 on lists kept from training, of the student and of mini-en."""
    rows: dict[bool, list[np.ndarray]] = defaultdict(list)
    for shelf, numbers in kept_back(library):
        step = step_of(library, numbers, np.tile(np.arange(COLUMNS), (len(numbers), 1)), max(LENGTHS))
        _, matching, cross = lists(teacher, library, numbers)
        ways = [scores_of(model, library, step), matching + cross]
        rows[shelf.unseen].append(ndcgs(library, numbers, ways))
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
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW([{"params": learned, "rate": RATE}], lr=RATE, weight_decay=0.01)
    progress = Progress(options.out / "state.pt")
    if progress.resume(model, optimizer):
        rng = np.random.default_rng(progress.step)
    else:
        print(held_out(model, teacher, library), flush=True)
    odds = odds_of(library)

    def step() -> tuple[dict[str, Tensor], int]:
        drawn = sample(library, odds, options.queries, rng)
        return losses(
            scores_of(model, library, drawn), wanted(teacher, library, drawn, whole), drawn
        ), drawn.label.numel()

    train(model, optimizer, progress, options.minutes, step)
    print(held_out(model, teacher, library), flush=True)
    write_model(checkpoint, model.state_dict(), options.out / "model", dtype="float16")


if __name__ == "__main__":
    main()
