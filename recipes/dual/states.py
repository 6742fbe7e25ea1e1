"""What training reads over and over, computed once: every text's states and its embedding.

    python states.py --model work/start --texts work/texts --out work/states [--only en_ cross_]

The layers of each side do not learn, so a text's states are the same in every pair. NAME.npz has the tokens and the
embeddings; NAME.npy the states in fp16, those that the cross layers take and those of the top beside each
other. Sources that are there are left alone.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from texts import names, read

from crossrank.batch import Filled, Packed, pack
from crossrank.checkpoint import Checkpoint, read_checkpoint
from crossrank.models.dual import Dual, means
from crossrank.quantize import quantize

QUERY_TOKENS = 128  # with the frame; what is kept of a query
BUDGET = 2048  # tokens computed at a time


def alone(rows: list[np.ndarray]) -> Packed:
    """Texts that are each a sequence, framed already."""
    return pack([Filled(tokens=row, split=len(row)) for row in rows])


@torch.inference_mode()
def encode(model: Dual, rows: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """The states of each text in fp16, [tokens, 2 * width], and the embeddings, [texts, width] of unit length."""
    states: list[np.ndarray] = [np.empty(0)] * len(rows)
    vectors = np.zeros((len(rows), model.marks.embedding_dim), dtype=np.float32)
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    while order:
        part = order[: max(1, BUDGET // len(rows[order[0]]))]
        order = order[len(part) :]
        batch = alone([rows[i] for i in part])
        below, top = model.encoded(batch)
        vectors[part] = torch.nn.functional.normalize(means(top, batch), dim=1).numpy()
        both = torch.cat([below, top], 1).half().numpy()
        for i, start, end in zip(part, batch.bounds[:-1].tolist(), batch.bounds[1:].tolist(), strict=True):
            states[i] = both[start:end]
    return states, vectors


def framed(checkpoint: Checkpoint, texts: list[str], side: int, most: int) -> list[np.ndarray]:
    """The tokens of each text with what the template puts round its side, `most` in all."""
    template = checkpoint.template
    closing = len(template.between) - template.opening
    before = (template.before, template.between[closing:])[side]
    after = (template.between[:closing], template.after)[side]
    room = most - len(before) - len(after)
    kept = (ids[:room] for ids in checkpoint.tokenizer.encode(texts))
    return [np.array([*before, *ids, *after], dtype=np.int32) for ids in kept]


def bounds(rows: list[np.ndarray]) -> np.ndarray:
    return np.cumsum([0, *map(len, rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder that start.py wrote")
    parser.add_argument("--texts", type=Path, required=True, help="folder that texts.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for two files a source")
    parser.add_argument("--only", nargs="*", default=[""], help="beginnings of sources' names; default: all")
    parser.add_argument("--document", type=int, default=224, help="tokens that are kept of a document")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "int8"), default="float32", help="of the layers")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    checkpoint = read_checkpoint(options.model)
    model = checkpoint.model
    assert isinstance(model, Dual)
    if options.dtype == "int8":  # half as long again as fast
        quantize(model)
    elif options.dtype == "bfloat16":  # four times as fast where the CPU has AMX
        model.bfloat16()
    for name in names(options.texts):
        target = options.out / f"{name}.npz"
        if target.exists() or not name.startswith(tuple(options.only)):
            continue
        begin = time.perf_counter()
        source = read(options.texts, name)
        asked = framed(checkpoint, source.queries, 0, QUERY_TOKENS)
        answered = framed(checkpoint, source.documents, 1, options.document)
        states, vectors = encode(model, [*asked, *answered])
        np.save(options.out / f"{name}.npy", np.concatenate(states))
        partial = options.out / f"{name}.partial.npz"
        np.savez(
            partial,
            tokens=np.concatenate([*asked, *answered]),
            bounds=bounds([*asked, *answered]),
            queries=len(asked),
            vectors=vectors,
        )
        partial.rename(target)
        total = sum(map(len, states))
        print(f"{name}: {total} tokens, {total / (time.perf_counter() - begin):.0f} a second", flush=True)


if __name__ == "__main__":
    main()
