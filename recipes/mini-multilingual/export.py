"""A trained model -> the folder that ships: what never trained in 4 bits, as it came, and the rest in fp16.

    python export.py --start work/start --model work/run/model --out FOLDER

--start gives all that training leaves alone. e5's weights came in blocks of 4 bits and go into such blocks
again, to the bit.
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

from crossrank.nibbles import packed


def learned(name: str, layers: int) -> bool:
    """Whether ../dual/train.py trains this tensor."""
    if name.startswith("encoder.layer."):
        return int(name.split(".")[2]) >= layers
    return name.startswith(("marks.", "cross.", "mix.", "late."))


def stored(start: dict[str, Tensor], trained: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    made: dict[str, Tensor] = {}
    for name, tensor in start.items():
        if learned(name, layers):
            made[name] = trained[name].half().contiguous()
        else:
            blocks = packed(name, tensor) if tensor.ndim == 2 else None
            made |= blocks or {name: tensor.to(torch.float16).contiguous()}
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, required=True, help="folder that ../dual/start.py wrote")
    parser.add_argument("--model", type=Path, required=True, help="folder of the trained model")
    parser.add_argument("--out", type=Path, required=True, help="folder for the one that ships")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    config = json.loads((options.start / "config.json").read_text(encoding="utf-8"))
    folders = options.start, options.model
    start, trained = (load_file(folder / "model.safetensors") for folder in folders)
    partial = options.out / ".model.safetensors.partial"
    save_file(stored(start, trained, config["num_hidden_layers"]), partial, metadata={"format": "pt"})
    partial.chmod(0o644)  # safetensors writes files that only their owner reads
    os.replace(partial, options.out / "model.safetensors")
    (options.out / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tokenizer = json.loads((options.start / "tokenizer.json").read_text(encoding="utf-8"))
    compact = json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":"))
    (options.out / "tokenizer.json").write_text(compact + "\n", encoding="utf-8")
    shutil.copyfile(options.start / "tokenizer_config.json", options.out / "tokenizer_config.json")


if __name__ == "__main__":
    main()
