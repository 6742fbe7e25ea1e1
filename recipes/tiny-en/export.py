"""Training's state -> a folder that transformers, sentence-transformers and crossrank load: fp16 weights and tokenizer.

    python export.py --state RUN/state.pt LATER/state.pt --out FOLDER

Of several states the mean is written; they are to come of one run, or of runs that went on from it.

Files are written beside their final names and renamed, so a reader of the folder never sees half a model.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).resolve().parents[1] / "dual"))
from candidates import base_model, load_tokenizer
from progress import mean
from safetensors.torch import save_file
from transformers import BertConfig

CONFIG = {
    "architectures": ["BertForSequenceClassification"],
    "id2label": {"0": "relevance"},
    "label2id": {"relevance": 0},
    "dtype": "float16",
    "sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid", "version": "5.1.0"},
}
COPIED = (
    "model_type vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size hidden_act "
    "max_position_embeddings type_vocab_size layer_norm_eps pad_token_id"
).split()
TOKENIZER_CONFIG = {
    "tokenizer_class": "BertTokenizer",
    "do_lower_case": True,
    "model_max_length": 256,
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "mask_token": "[MASK]",
}


def write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def write_tensors(tensors: dict[str, torch.Tensor], folder: Path) -> None:
    partial = folder / ".model.safetensors.partial"
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.chmod(0o644)  # safetensors writes files that only their owner reads
    os.replace(partial, folder / "model.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, nargs="+", required=True, help="state.pt of train.py")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    parser.add_argument("--base", type=Path, help="folder of the bi-encoder; default: all-MiniLM-L6-v2's package")
    options = parser.parse_args()
    folder = base_model(options.base)
    options.out.mkdir(parents=True, exist_ok=True)
    weights = mean(options.state)
    write_tensors({name: t.half() for name, t in weights.items() if "position_ids" not in name}, options.out)
    base = BertConfig.from_pretrained(folder).to_dict()
    config = {name: base[name] for name in COPIED} | CONFIG
    write(options.out / "config.json", json.dumps(config, indent=2) + "\n")
    write(options.out / "tokenizer_config.json", json.dumps(TOKENIZER_CONFIG, indent=2) + "\n")
    write(options.out / "tokenizer.json", load_tokenizer(folder).to_str(pretty=False) + "\n")


if __name__ == "__main__":
    main()
