"""Training's state -> a folder that crossrank, transformers and sentence-transformers load, with the base's tokenizer.

    python export.py --base work/base --state work/run/state.pt work/later/state.pt --out FOLDER

Of several states the mean is written, as with mini-en's. Matrices are stored in 8 bits (float8_e4m3fn, a type of
safetensors), so that twice as many pieces of the vocabulary fit; all three libraries widen them as they load.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from english import mini_en
from torch import Tensor
from transformers import BertConfig

english = mini_en("export")
MOST_TOKENS = 256  # of a pair, when serving
MOST_ERROR = 0.035  # of a matrix in 8 bits, as a share of its spread; e4m3 has steps of 2^-9 below 2^-6


def narrow(tensor: Tensor) -> Tensor:
    """A matrix in 8 bits where that is close enough; the rest, and vectors, in fp16."""
    wide = tensor.float()
    eight = wide.to(torch.float8_e4m3fn)
    close = tensor.ndim == 2 and (eight.float() - wide).square().mean().sqrt() < MOST_ERROR * wide.std()
    return (eight if close else tensor.to(torch.float16)).contiguous()


def write_model(tensors: dict[str, Tensor], base: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    english.write_tensors({name: narrow(value) for name, value in tensors.items()}, out)
    config = BertConfig.from_pretrained(base).to_dict()
    kept = {name: config[name] for name in english.COPIED} | english.CONFIG
    english.write(out / "config.json", json.dumps(kept, indent=2) + "\n")
    shutil.copyfile(base / "tokenizer.json", out / "tokenizer.json")
    told = json.loads((base / "tokenizer_config.json").read_text(encoding="utf-8")) | {"model_max_length": MOST_TOKENS}
    english.write(out / "tokenizer_config.json", json.dumps(told, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="the --base of train.py")
    parser.add_argument("--state", type=Path, nargs="+", required=True, help="state.pt of train.py")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    options = parser.parse_args()
    write_model(english.mean(options.state), options.base, options.out)


if __name__ == "__main__":
    main()
