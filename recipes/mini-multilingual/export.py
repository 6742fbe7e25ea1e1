"""A trained model's folder -> the same with matrices in 8 bits, so that twice as many pieces of the vocabulary fit.

    python export.py --model work/run/model --out FOLDER

The type is float8_e4m3fn, one of safetensors' own; what reads the folder widens it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

MOST_ERROR = 0.035  # of a matrix in 8 bits, as a share of its spread; e4m3 has steps of 2^-9 below 2^-6


def narrow(tensor: Tensor) -> Tensor:
    """A matrix in 8 bits where that is close enough; the rest, and vectors, in fp16."""
    wide = tensor.float()
    eight = wide.to(torch.float8_e4m3fn)
    close = min(tensor.shape) > 1 and (eight.float() - wide).square().mean().sqrt() < MOST_ERROR * wide.std()
    return (eight if close else tensor.to(torch.float16)).contiguous()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the trained model")
    parser.add_argument("--out", type=Path, required=True, help="folder for the one that ships")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    tensors = {name: narrow(tensor) for name, tensor in load_file(options.model / "model.safetensors").items()}
    partial = options.out / ".model.safetensors.partial"
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.chmod(0o644)  # safetensors writes files that only their owner reads
    os.replace(partial, options.out / "model.safetensors")
    config = json.loads((options.model / "config.json").read_text(encoding="utf-8")) | {"dtype": "float8_e4m3fn"}
    (options.out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tokenizer = json.loads((options.model / "tokenizer.json").read_text(encoding="utf-8"))
    compact = json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":"))
    (options.out / "tokenizer.json").write_text(compact + "\n", encoding="utf-8")
    shutil.copyfile(options.model / "tokenizer_config.json", options.out / "tokenizer_config.json")


if __name__ == "__main__":
    main()
