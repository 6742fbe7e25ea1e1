"""A BERT checkpoint -> the four ONNX graphs that its ONNX engines choose from, by the tools that those engines name.

float32: torch.onnx's export. float32-fused: with onnxruntime.transformers.optimizer's fusions for BERT (embeddings with
their norm, attention, bias with GELU, residual with norm). int8, int8-fused: each through
onnxruntime.quantization.quantize_dynamic with a scale for every output channel. The last layer is computed for every
token in all of them, as in any export of this model.
"""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from pathlib import Path

__all__ = ["GRAPHS", "export"]

GRAPHS = ("float32", "float32-fused", "int8", "int8-fused")
# FlashRank knows models by name only: its folder and file for a quantized MiniLM.
FLASHRANK = "ms-marco-MiniLM-L-12-v2", "flashrank-MiniLM-L-12-v2_Q.onnx"


def export(folder: Path, work: Path) -> None:
    """Write work/GRAPH/model.onnx with a tokenizer for each of GRAPHS, and FlashRank's layout inside the int8 ones."""
    import onnx
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers import optimizer
    from transformers import AutoModelForSequenceClassification

    # quantize_dynamic advises a preprocessing step; it infers shapes, which dynamic quantization does not use.
    logging.getLogger().setLevel(logging.ERROR)
    # Eager attention: spelled out in plain operators, it is what the optimizer's patterns recognise; of SDPA's export
    # they fuse only norms and GELU.
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32, local_files_only=True
    )
    if model.config.model_type != "bert":
        raise SystemExit(f"{folder}: the comparison is for BERT checkpoints; this one is {model.config.model_type!r}")
    for graph in GRAPHS:
        (work / graph).mkdir(parents=True, exist_ok=True)
        _tokenizer(folder, work / graph)
    plain, fused = (work / graph / "model.onnx" for graph in GRAPHS[:2])
    _graph(model, plain)
    sizes = model.config
    optimized = optimizer.optimize_model(
        str(plain), "bert", num_heads=sizes.num_attention_heads, hidden_size=sizes.hidden_size, opt_level=0
    )
    if not optimized.is_fully_optimized():
        raise SystemExit(f"onnxruntime's optimizer fused only {optimized.get_fused_operator_statistics()}")
    optimized.save_model_to_file(str(fused))
    for source, graph in ((plain, "int8"), (fused, "int8-fused")):
        target = work / graph / "model.onnx"
        # Full range where the processor has VNNI; elsewhere AVX2 adds products in 16 bits and would overflow, so
        # onnxruntime's advice is 7 bits.
        quantize_dynamic(
            str(source),
            str(target),
            per_channel=True,
            weight_type=QuantType.QInt8,
            reduce_range=not torch.cpu._is_vnni_supported(),
            # Of fused operators it cannot infer types itself.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )
        name, file = FLASHRANK
        (work / graph / name).mkdir()
        _tokenizer(folder, work / graph / name)
        (work / graph / name / file).hardlink_to(target)


def _graph(model: object, target: Path) -> None:
    import torch

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
            return self.model(input_ids=ids, attention_mask=mask, token_type_ids=types).logits

    ids = torch.randint(5, 500, (3, 21))
    mask, types = torch.ones_like(ids), torch.zeros_like(ids)
    mask[1, 15:] = 0
    types[:, 9:] = 1
    names = ["input_ids", "attention_mask", "token_type_ids"]
    with warnings.catch_warnings():
        # The older exporter, which warns that it is: in the newer one's graph the optimizer cannot fuse attention.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Logits().eval(),
            (ids, mask, types),
            str(target),
            input_names=names,
            output_names=["logits"],
            dynamic_axes={name: {0: "pairs", 1: "tokens"} for name in names} | {"logits": {0: "pairs"}},
            opset_version=17,
            dynamo=False,
        )


def _tokenizer(folder: Path, target: Path) -> None:
    """tokenizer.json and the three files that FlashRank and fastembed read beside it."""
    shutil.copy(folder / "tokenizer.json", target)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    special = {f"{name.lower()}_token": f"[{name}]" for name in ("CLS", "SEP", "PAD", "UNK", "MASK")}
    written = {
        "config.json": config | {"pad_token_id": config.get("pad_token_id", 0)},
        "tokenizer_config.json": special | {"model_max_length": config["max_position_embeddings"]},
        "special_tokens_map.json": special,
    }
    for name, content in written.items():
        (target / name).write_text(json.dumps(content), encoding="utf-8")
