"""Training's state -> a folder that transformers, sentence-transformers and crossrank load: fp16 weights and tokenizer.

    python export.py --state RUN/state.pt LATER/state.pt --out FOLDER

Of several states the mean is written, which ranks better than each (Wortsman et al. 2022,
https://arxiv.org/abs/2203.05482); they are to come of one run, or of runs that went on from it.

Files are written beside their final names and renamed, so a reader of the folder never sees half a model.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import torch
from candidates import base_model, load_tokenizer
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


def mean(paths: list[Path]) -> dict[str, torch.Tensor]:
    """The mean of the states' tensors, in fp16."""
    states = [torch.load(path, weights_only=False)["model"] for path in paths]
    return {
        name: torch.stack([state[name].float() for state in states]).mean(0).to(torch.float16)
        for name in states[0]
        if "position_ids" not in name
    }


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
    write_tensors(mean(options.state), options.out)
    base = BertConfig.from_pretrained(folder).to_dict()
    config = {name: base[name] for name in COPIED} | CONFIG
    write(options.out / "config.json", json.dumps(config, indent=2) + "\n")
    write(options.out / "tokenizer_config.json", json.dumps(TOKENIZER_CONFIG, indent=2) + "\n")
    write(options.out / "tokenizer.json", load_tokenizer(folder).to_str(pretty=False) + "\n")


if __name__ == "__main__":
    main()
