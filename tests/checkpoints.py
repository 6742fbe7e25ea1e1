"""Small checkpoints with random weights in the published layouts: config, tensors, tokenizer.

The tensors are made from the layouts' own name and shape tables, not from our modules, so that a loader which loses one
is caught. Their spread is chosen so that logits differ between texts: with the customary 0.02 every text scores the
same, and a comparison of scores could not fail.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import tokenizers
import torch
from safetensors.torch import save_file
from torch import Tensor

from crossrank import Limits, Reranker
from crossrank.checkpoint import Checkpoint, read_checkpoint
from tests import vocabularies

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Recipe:
    """What a published folder holds. tokenizer: a key of vocabularies.KINDS."""

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor] = field(repr=False)
    tokenizer: str

    def changed(self, **settings: Any) -> Recipe:
        """With other settings in config.json; the tensors stay."""
        return replace(self, config={**self.config, **settings})

    def renamed(self, old: str, new: str) -> Recipe:
        """With a part of every tensor's name replaced."""
        return replace(self, tensors={name.replace(old, new): tensor for name, tensor in self.tensors.items()})

    def without(self, *parts: str) -> Recipe:
        """Without the tensors whose names have one of `parts` in them."""
        kept = {name: tensor for name, tensor in self.tensors.items() if not any(part in name for part in parts)}
        return replace(self, tensors=kept)

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Recipe:
        return replace(self, tensors={**self.tensors, **tensors})

    def raw_tokenizer(self) -> tokenizers.Tokenizer:
        return vocabularies.KINDS[self.tokenizer]()

    def write(self, folder: Path) -> Path:
        """Write the folder as it would be published."""
        folder.mkdir(parents=True, exist_ok=True)
        self.write_sides(folder)
        save_file({name: tensor.contiguous() for name, tensor in self.tensors.items()}, folder / "model.safetensors")
        return folder

    def write_sides(self, folder: Path) -> None:
        """Write everything but the weights."""
        (folder / "config.json").write_text(json.dumps(dict(self.config)))
        self.raw_tokenizer().save(str(folder / "tokenizer.json"))


def bert(seed: int = 0, *, width: int = 32, layers: int = 3, heads: int = 4, positions: int = 512) -> Recipe:
    """The layout of cross-encoder/ms-marco-MiniLM-*."""
    rows = vocabularies.wordpiece().get_vocab_size()
    config = _sizes(rows, width, layers, heads, positions) | {
        "architectures": ["BertForSequenceClassification"],
        "model_type": "bert",
        "position_embedding_type": "absolute",
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"},
    }
    make = Maker(seed, width)
    tensors = make.embeddings("bert.embeddings", rows, types=2, positions=positions)
    for layer in range(layers):
        tensors |= make.stock_layer(f"bert.encoder.layer.{layer}")
    tensors |= make.linear("bert.pooler.dense", width, width) | make.linear("classifier", 1, width)
    return Recipe(config, tensors, "wordpiece")


def xlm_roberta(seed: int = 0, *, width: int = 32, layers: int = 3, heads: int = 4, positions: int = 1026) -> Recipe:
    """The layout of BAAI/bge-reranker-base and cross-encoder/mmarco-mMiniLMv2-L12-H384-v1."""
    rows = vocabularies.unigram().get_vocab_size()
    config = _sizes(rows, width, layers, heads, positions) | {
        "architectures": ["XLMRobertaForSequenceClassification"],
        "model_type": "xlm-roberta",
        "position_embedding_type": "absolute",
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
    }
    make = Maker(seed, width)
    tensors = make.embeddings("roberta.embeddings", rows, types=1, positions=positions)
    for layer in range(layers):
        tensors |= make.stock_layer(f"roberta.encoder.layer.{layer}")
    tensors |= make.linear("classifier.dense", width, width) | make.linear("classifier.out_proj", 1, width, gain=5)
    return Recipe(config, tensors, "unigram")


def jina_v2(seed: int = 0, **sizes: int) -> Recipe:
    """The layout of jinaai/jina-reranker-v2-base-multilingual: the same arithmetic, fused, renamed, no model_type."""
    stock = xlm_roberta(seed, **sizes)
    config = {key: value for key, value in stock.config.items() if key != "model_type"} | {
        "auto_map": {"AutoModelForSequenceClassification": "modeling.XLMRobertaForSequenceClassification"},
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
        "num_labels": 1,
        "emb_pooler": None,
        "output_past": True,
        "torch_dtype": "bfloat16",
        "use_cache": False,
        "use_flash_attn": True,
    }
    return replace(stock, config=config, tensors=fused(stock.tensors))


def fused(stock: Mapping[str, Tensor]) -> Tensors:
    """Stock XLM-RoBERTa tensors under jina-reranker-v2's names, queries, keys and values in one."""
    table = {
        "roberta.embeddings.LayerNorm.": "roberta.emb_ln.",
        ".encoder.layer.": ".encoder.layers.",
        ".attention.output.dense.": ".mixer.out_proj.",
        ".attention.output.LayerNorm.": ".norm1.",
        ".intermediate.dense.": ".mlp.fc1.",
        ".output.dense.": ".mlp.fc2.",
        ".output.LayerNorm.": ".norm2.",
    }
    renamed: Tensors = {}
    for name, tensor in stock.items():
        if ".self.key." in name or ".self.value." in name:
            continue
        if ".self.query." in name:
            parts = [stock[name.replace("query", part)] for part in ("query", "key", "value")]
            name, tensor = name.replace("attention.self.query", "mixer.Wqkv"), torch.cat(parts)
        for old, new in table.items():
            name = name.replace(old, new)
        renamed[name] = tensor
    return renamed


def jina_v1(seed: int = 0, *, layers: int = 4, width: int = 48, heads: int = 12, tokenizer: str = "bpe") -> Recipe:
    """The layout of jinaai/jina-reranker-v1-tiny-en (4 layers) and v1-turbo-en (6): ALiBi and a gated MLP."""
    rows = vocabularies.KINDS[tokenizer]().get_vocab_size()
    make = Maker(seed, width)
    tensors = make.embeddings("bert.embeddings", rows, types=2)
    for layer in range(layers):
        stem = f"bert.encoder.layer.{layer}"
        tensors |= make.attention(f"{stem}.attention")
        tensors |= make.linear(f"{stem}.mlp.gated_layers", 4 * width, width, bias=False)
        tensors |= make.linear(f"{stem}.mlp.wo", width, 2 * width) | make.norm(f"{stem}.mlp.layernorm")
    tensors |= make.linear("bert.pooler.dense", width, width) | make.linear("classifier", 1, width)
    return Recipe(_jina_bert_config(rows, width, layers, heads), tensors, tokenizer)


def jina_b(seed: int = 0, *, layers: int = 3, width: int = 48, heads: int = 12, tokenizer: str = "bpe") -> Recipe:
    """The layout of jinaai/jina-embeddings-v2-base-code, with a one-output head: normalised queries and keys."""
    rows = vocabularies.KINDS[tokenizer]().get_vocab_size()
    make = Maker(seed, width)
    tensors = make.embeddings("bert.embeddings", rows, types=2)
    for layer in range(layers):
        stem = f"bert.encoder.layer.{layer}"
        tensors |= make.attention(f"{stem}.attention")
        tensors |= make.norm(f"{stem}.attention.self.layer_norm_q") | make.norm(f"{stem}.attention.self.layer_norm_k")
        tensors |= make.linear(f"{stem}.mlp.up_gated_layer", 4 * width, width, bias=False)
        tensors |= make.linear(f"{stem}.mlp.down_layer", width, 2 * width)
        tensors |= make.norm(f"{stem}.layer_norm_1") | make.norm(f"{stem}.layer_norm_2")
    tensors |= make.linear("bert.pooler.dense", width, width) | make.linear("classifier", 1, width)
    return Recipe(_jina_bert_config(rows, width, layers, heads), tensors, tokenizer)


def modernbert(
    seed: int = 0, *, width: int = 32, layers: int = 4, heads: int = 4, pooling: str = "mean", window: int = 16
) -> Recipe:
    """The layout of Alibaba-NLP/gte-reranker-modernbert-base: norms first, rotary, two layers of three local."""
    rows = vocabularies.modern().get_vocab_size()
    config = {key: value for key, value in _sizes(rows, width, layers, heads, 8192).items() if "dropout" not in key}
    del config["hidden_act"]
    config |= {
        "architectures": ["ModernBertForSequenceClassification"],
        "model_type": "modernbert",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 2,
        "classifier_activation": "gelu",
        "classifier_bias": False,
        "classifier_dropout": 0.0,
        "classifier_pooling": pooling,
        "cls_token_id": 2,
        "decoder_bias": True,
        "deterministic_flash_attn": False,
        "embedding_dropout": 0.0,
        "eos_token_id": 3,
        "global_attn_every_n_layers": 3,
        "global_rope_theta": 160000.0,
        "gradient_checkpointing": False,
        "hidden_activation": "gelu",
        "id2label": {"0": "LABEL_0"},
        "initializer_cutoff_factor": 2.0,
        "label2id": {"LABEL_0": 0},
        "layer_norm_eps": 1e-05,
        "local_attention": window,
        "local_rope_theta": 10000.0,
        "mlp_bias": False,
        "mlp_dropout": 0.0,
        "norm_bias": False,
        "norm_eps": 1e-05,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
        "sep_token_id": 3,
        "sparse_pred_ignore_index": -100,
        "sparse_prediction": False,
        "torch_dtype": "float16",
    }
    make = Maker(seed, width)
    tensors = {"model.embeddings.tok_embeddings.weight": make.embeddings("", rows)[".word_embeddings.weight"]}
    tensors |= make.scale("model.embeddings.norm")
    for layer in range(layers):
        stem = f"model.layers.{layer}"
        if layer:
            tensors |= make.scale(f"{stem}.attn_norm")
        tensors |= make.linear(f"{stem}.attn.Wqkv", 3 * width, width, bias=False)
        tensors |= make.linear(f"{stem}.attn.Wo", width, width, bias=False)
        tensors |= make.scale(f"{stem}.mlp_norm")
        tensors |= make.linear(f"{stem}.mlp.Wi", 4 * width, width, bias=False)
        tensors |= make.linear(f"{stem}.mlp.Wo", width, 2 * width, bias=False)
    tensors |= make.scale("model.final_norm")
    tensors |= make.linear("head.dense", width, width, bias=False) | make.scale("head.norm")
    return Recipe(config, tensors | make.linear("classifier", 1, width), "modern")


def dual(seed: int = 0, *, width: int = 32, layers: int = 3, heads: int = 4, positions: int = 512) -> Recipe:
    """The layout of crossrank's own mini-en: `layers` of each side, two of both behind all but the last of them."""
    vocabulary = vocabularies.apart().get_vocab()
    config = _sizes(len(vocabulary), width, layers, heads, positions) | {
        "model_type": "crossrank-dual",
        "branch_layer": max(1, layers - 1),
        "num_cross_layers": 2,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }
    make = Maker(seed, width)
    tensors = make.embeddings("embeddings", len(vocabulary), positions=positions)
    for layer in range(layers + 2):
        tensors |= make.stock_layer(f"encoder.layer.{layer}")
    tensors |= make.opinions(len(vocabulary))
    tensors["pieces.weight"][[vocabulary[token] for token in vocabularies.BERT_SPECIALS]] = 0
    return Recipe(config, tensors, "apart")


class Maker:
    """Random tensors of a width, in the shapes that the published layouts have."""

    def __init__(self, seed: int, width: int) -> None:
        self.random = torch.Generator().manual_seed(seed)
        self.width = width

    def linear(self, name: str, rows: int, columns: int, *, bias: bool = True, gain: float = 1.7) -> Tensors:
        made = {f"{name}.weight": self._normal(rows, columns) * (gain / columns**0.5)}
        return made | {f"{name}.bias": self._normal(rows) * 0.3} if bias else made

    def norm(self, name: str) -> Tensors:
        return {f"{name}.weight": 1 + 0.2 * self._normal(self.width), f"{name}.bias": 0.2 * self._normal(self.width)}

    def scale(self, name: str) -> Tensors:
        """A norm without a bias."""
        return {f"{name}.weight": 1 + 0.2 * self._normal(self.width)}

    def embeddings(self, stem: str, rows: int, types: int | None = None, positions: int | None = None) -> Tensors:
        made = {f"{stem}.word_embeddings.weight": self._normal(rows, self.width)}
        if types is not None:
            made[f"{stem}.token_type_embeddings.weight"] = self._normal(types, self.width) * 0.5
        if positions is not None:
            made[f"{stem}.position_embeddings.weight"] = self._normal(positions, self.width) * 0.5
        return made | self.norm(f"{stem}.LayerNorm")

    def attention(self, stem: str) -> Tensors:
        made: Tensors = {}
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            made |= self.linear(f"{stem}.{part}", self.width, self.width)
        return made | self.norm(f"{stem}.output.LayerNorm")

    def stock_layer(self, stem: str) -> Tensors:
        made = self.attention(f"{stem}.attention")
        made |= self.linear(f"{stem}.intermediate.dense", 2 * self.width, self.width)
        made |= self.linear(f"{stem}.output.dense", self.width, 2 * self.width)
        return made | self.norm(f"{stem}.output.LayerNorm")

    def opinions(self, rows: int) -> Tensors:
        """What the dual layout has beside its encoder, for a vocabulary of `rows`."""
        made = {"marks.weight": self._normal(4, self.width)} | self.linear("cross.dense", self.width, self.width)
        made |= self.linear("cross.out", 1, self.width) | {"pieces.weight": self._normal(rows, 1).abs()}
        made |= self.linear("late", self.width, self.width, bias=False) | self.linear("mix", 3, self.width + 1)
        # Sides that random layers encode have cosines near one another: these counts give each part of the sum a say.
        return made | {"mix.bias": torch.tensor([4.0, 1.0, 3.0])}

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.random)


def _sizes(rows: int, width: int, layers: int, heads: int, positions: int) -> dict[str, Any]:
    return {
        "vocab_size": rows,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": 2 * width,
        "hidden_act": "gelu",
        "max_position_embeddings": positions,
        "attention_probs_dropout_prob": 0.1,
        "hidden_dropout_prob": 0.1,
        "initializer_range": 0.02,
    }


def _jina_bert_config(rows: int, width: int, layers: int, heads: int) -> dict[str, Any]:
    return _sizes(rows, width, layers, heads, 8192) | {
        "architectures": ["JinaBertModel"],
        "auto_map": {"AutoModel": "modeling_bert.JinaBertModel"},
        "model_type": "bert",
        "position_embedding_type": "alibi",
        "feed_forward_type": "geglu",
        "emb_pooler": "mean",
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "classifier_dropout": None,
        "gradient_checkpointing": False,
        "use_cache": True,
        "torch_dtype": "float16",
        "attn_implementation": None,
    }


RECIPES = {
    "bert": bert,
    "xlm_roberta": xlm_roberta,
    "jina_v2": jina_v2,
    "jina_v1": jina_v1,
    "jina_b": jina_b,
    "modernbert": modernbert,
    "dual": dual,
}


def load(recipe: Recipe, *, dtype: str | None = None, limits: Limits | None = None) -> Reranker:
    """The recipe as a user would have it: written to a folder and loaded from there, on the CPU."""
    with tempfile.TemporaryDirectory() as folder:
        return Reranker.load(recipe.write(Path(folder)), device="cpu", dtype=dtype, limits=limits)


def unplaced(recipe: Recipe) -> Checkpoint:
    """The recipe as it is read, before a device or precision changes its layers."""
    with tempfile.TemporaryDirectory() as folder:
        return read_checkpoint(recipe.write(Path(folder)))


@cache
def tiny(kind: str, *, dtype: str | None = None, limits: Limits | None = None) -> Reranker:
    """A loaded reranker of RECIPES, made once; rerankers hold nothing that a test could leave behind."""
    return load(RECIPES[kind](), dtype=dtype, limits=limits)
