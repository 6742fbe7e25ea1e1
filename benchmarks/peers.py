"""The engines that are compared, each opened the way that suits it best. Nothing heavy is imported before it is opened.

An engine takes a query and documents as text and returns one logit a document, in the caller's order: tokenization,
sorting and batching are its own and count. All of them read the same checkpoint and, as no pair passes the model's
limit, the same tokens.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["ENGINES", "LENGTH", "Engine", "Material", "Setting", "absent"]

LENGTH = 512  # tokens of a pair, for every engine: more than any has, so that all read the same

Score = Callable[[str, Sequence[str]], list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """folder: the checkpoint. exports: where export.py put its ONNX forms. threads: for every engine alike."""

    folder: Path
    exports: Path
    threads: int


@dataclass(frozen=True, slots=True)
class Setting:
    """What a user of an engine may choose. batch: documents at once. graph: a folder of exports."""

    batch: int | None = None
    graph: str | None = None

    def __str__(self) -> str:
        parts = [f"batch {self.batch}" if self.batch else "", self.graph or ""]
        return ", ".join(filter(None, parts)) or "default"


@dataclass(frozen=True, slots=True)
class Engine:
    """One line of the table. settings: all are tried before the race, and the fastest of them runs in it."""

    label: str
    precision: str
    needs: tuple[str, ...]
    settings: tuple[Setting, ...]
    open: Callable[[Material, Setting], Score]

    @property
    def is_ours(self) -> bool:
        return self.label.startswith("crossrank")


def _crossrank(dtype: str) -> Callable[[Material, Setting], Score]:
    def opened(material: Material, setting: Setting) -> Score:
        import torch

        from crossrank import Limits, Reranker

        torch.set_num_threads(material.threads)
        reranker = Reranker.load(material.folder, device="cpu", dtype=dtype, limits=Limits(max_length=LENGTH))

        def score(query: str, documents: Sequence[str]) -> list[float]:
            logits = [0.0] * len(documents)
            for hit in reranker.rank(query, documents):
                logits[hit.index] = hit.logit
            return logits

        return score

    return opened


def _sentence_transformers(dtype: str) -> Callable[[Material, Setting], Score]:
    def opened(material: Material, setting: Setting) -> Score:
        import torch
        from sentence_transformers import CrossEncoder

        torch.set_num_threads(material.threads)
        # The dtype is named because it would otherwise be that of the file, and float16 is slow on a CPU. Attention is
        # SDPA, its own choice. predict() sorts by length and pads to the longest of each batch.
        model = CrossEncoder(
            str(material.folder),
            device="cpu",
            max_length=LENGTH,
            local_files_only=True,
            model_kwargs={"dtype": getattr(torch, dtype)},
        )
        logit = torch.nn.Identity()

        def score(query: str, documents: Sequence[str]) -> list[float]:
            pairs = [(query, document) for document in documents]
            if setting.batch is None:
                return model.predict(pairs, activation_fn=logit, show_progress_bar=False).tolist()
            found = model.predict(pairs, activation_fn=logit, show_progress_bar=False, batch_size=setting.batch)
            return found.tolist()

        return score

    return opened


def _onnxruntime(material: Material, setting: Setting) -> Score:
    import onnxruntime
    import tokenizers

    assert setting.batch
    assert setting.graph
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = material.threads
    # One session, so nothing to run beside it; every rewrite of the graph that onnxruntime knows.
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    graph = material.exports / setting.graph / "model.onnx"
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    tokenizer = tokenizers.Tokenizer.from_file(str(material.exports / setting.graph / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=LENGTH)
    size = setting.batch

    def score(query: str, documents: Sequence[str]) -> list[float]:
        encoded = tokenizer.encode_batch_fast([(query, document) for document in documents])
        # By length in tokens, so that a batch holds next to no padding.
        order = sorted(range(len(encoded)), key=lambda index: -len(encoded[index]))
        logits = [0.0] * len(encoded)
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            ids = np.zeros((len(chosen), len(encoded[chosen[0]])), dtype=np.int64)
            mask, types = np.zeros_like(ids), np.zeros_like(ids)
            for row, index in enumerate(chosen):
                length = len(encoded[index])
                ids[row, :length] = encoded[index].ids
                types[row, :length] = encoded[index].type_ids
                mask[row, :length] = 1
            found = session.run(None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": types})[0]
            for index, logit in zip(chosen, found[:, 0].tolist(), strict=True):
                logits[index] = logit
        return logits

    return score


def _flashrank(material: Material, setting: Setting) -> Score:
    from flashrank import Ranker, RerankRequest

    assert setting.graph
    # Ranker opens folders of its own models only, so the export lies under one of those names. It has no option for
    # batches or threads: all passages go at once, padded to the longest, on as many threads as there are cores.
    ranker = Ranker("ms-marco-MiniLM-L-12-v2", cache_dir=str(material.exports / setting.graph), log_level="WARNING")

    def score(query: str, documents: Sequence[str]) -> list[float]:
        passages = [{"id": index, "text": document} for index, document in enumerate(documents)]
        logits = [0.0] * len(documents)
        for passage in ranker.rerank(RerankRequest(query=query, passages=passages)):
            probability = min(max(float(passage["score"]), 1e-30), 1 - 2**-24)
            logits[passage["id"]] = math.log(probability / (1 - probability))
        return logits

    return score


def _fastembed(material: Material, setting: Setting) -> Score:
    from fastembed.common.model_description import ModelSource
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    assert setting.batch
    assert setting.graph
    name = f"benchmark/{setting.graph}"
    if not any(model["model"] == name for model in TextCrossEncoder.list_supported_models()):
        TextCrossEncoder.add_custom_model(name, ModelSource(hf=name), model_file="model.onnx")
    folder = str(material.exports / setting.graph)
    encoder = TextCrossEncoder(name, threads=material.threads, cuda=False, specific_model_path=folder)
    size = setting.batch

    def score(query: str, documents: Sequence[str]) -> list[float]:
        return list(encoder.rerank(query, documents, batch_size=size))

    return score


BATCHES = (1, 2, 4, 8, 16)
ONNX = ("onnxruntime", "onnx", "onnxscript", "transformers")


def _each(*graphs: str) -> tuple[Setting, ...]:
    return tuple(Setting(batch, graph) for graph in graphs for batch in BATCHES)


# The graphs that onnxruntime's own tools make: as exported, with its BERT fusions, and either quantized. Which one is
# fastest depends on the processor, so each is tried.
ENGINES = {
    "crossrank-fp32": Engine("crossrank", "float32", (), (Setting(),), _crossrank("float32")),
    "crossrank-bf16": Engine("crossrank", "bfloat16", (), (Setting(),), _crossrank("bfloat16")),
    "crossrank-int8": Engine("crossrank", "int8", (), (Setting(),), _crossrank("int8")),
    "st-default": Engine(
        "sentence-transformers", "float32", ("sentence_transformers",), (Setting(),), _sentence_transformers("float32")
    ),
    "st-best": Engine(
        "sentence-transformers",
        "float32",
        ("sentence_transformers",),
        tuple(map(Setting, BATCHES)),
        _sentence_transformers("float32"),
    ),
    "st-bf16": Engine(
        "sentence-transformers",
        "bfloat16",
        ("sentence_transformers",),
        tuple(map(Setting, BATCHES)),
        _sentence_transformers("bfloat16"),
    ),
    "ort-fp32": Engine("ONNX Runtime", "float32", ONNX, _each("float32", "float32-fused"), _onnxruntime),
    "ort-int8": Engine("ONNX Runtime", "int8", ONNX, _each("int8", "int8-fused"), _onnxruntime),
    "fastembed-fp32": Engine(
        "fastembed", "float32", ("fastembed", *ONNX), _each("float32", "float32-fused"), _fastembed
    ),
    "fastembed-int8": Engine("fastembed", "int8", ("fastembed", *ONNX), _each("int8", "int8-fused"), _fastembed),
    "flashrank-int8": Engine(
        "FlashRank",
        "int8",
        ("flashrank", *ONNX),
        (Setting(None, "int8"), Setting(None, "int8-fused")),
        _flashrank,
    ),
}


def absent(engine: Engine) -> list[str]:
    """The modules that an engine needs and this Python has not got."""
    return [module for module in engine.needs if importlib.util.find_spec(module) is None]
