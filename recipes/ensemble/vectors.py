"""What a bi-encoder makes of every text: embeddings of unit length in fp16, one NAME.npy a source.

    python vectors.py --base work/e5 --prompts "query: " "passage: " --texts work/texts --out work/vectors/e5

A row a text, the source's queries first. Sources that are there are left alone.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

sys.path.append(str(Path(__file__).resolve().parents[1] / "dual"))
from texts import names, read

MOST = 128, 224  # tokens that are read of a query, of a document
BUDGET = {"cpu": 2048, "cuda": 131072}  # tokens computed at a time, padding too


@torch.inference_mode()
def embed(model: torch.nn.Module, rows: list[list[int]], padding: int) -> np.ndarray:
    """The mean of each row's states, of unit length, [rows, width]."""
    device = next(model.parameters()).device
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    found = np.zeros((len(rows), model.config.hidden_size), dtype=np.float16)
    while order:
        part = order[: max(1, BUDGET[device.type] // len(rows[order[0]]))]
        order = order[len(part) :]
        padded = np.full((len(part), len(rows[part[0]])), padding)
        for row, i in zip(padded, part, strict=True):
            row[: len(rows[i])] = rows[i]
        lengths = torch.tensor([len(rows[i]) for i in part], device=device)
        mask = torch.arange(padded.shape[1], device=device) < lengths[:, None]
        states = model(torch.from_numpy(padded).to(device), attention_mask=mask.long()).last_hidden_state.float()
        mean = (states * mask[:, :, None]).sum(1) / lengths[:, None]
        found[part] = torch.nn.functional.normalize(mean, dim=1).half().cpu().numpy()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, help="folder of the bi-encoder, which takes the mean of its states")
    parser.add_argument("--prompts", nargs=2, default=["", ""], help="what goes before a query, before a document")
    parser.add_argument("--texts", type=Path, required=True, help="folder that texts.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder for one .npy a source")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(options.base)
    model = AutoModel.from_pretrained(options.base, dtype=torch.bfloat16).eval().to(options.device)
    for name in names(options.texts):
        target = options.out / f"{name}.npy"
        if target.exists():
            continue
        begin = time.perf_counter()
        source = read(options.texts, name)
        rows = []
        for prompt, texts, most in zip(options.prompts, (source.queries, source.documents), MOST, strict=True):
            rows += tokenizer([prompt + text for text in texts], truncation=True, max_length=most)["input_ids"]
        partial = target.with_suffix(".partial.npy")
        np.save(partial, embed(model, rows, tokenizer.pad_token_id))
        partial.rename(target)
        print(f"{name}: {sum(map(len, rows)) / (time.perf_counter() - begin):.0f} tokens a second", flush=True)


if __name__ == "__main__":
    main()
