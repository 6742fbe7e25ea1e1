"""LoRA through PEFT: small matrices beside the linear layers learn, the layers themselves stay.

Hu et al. (2021), https://arxiv.org/abs/2106.09685. The head is small and learns in full.
"""

from __future__ import annotations

from dataclasses import dataclass

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn

from crossrank.errors import InputError

__all__ = ["Lora", "add_lora", "merged_state"]

ADAPTER = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """rank: of the matrices beside each layer. alpha: what they add is scaled by alpha / rank."""

    rank: int = 8
    alpha: int = 16

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha < 1:
            raise InputError(f"lora: rank and alpha should be at least 1, not {self.rank} and {self.alpha}")


def add_lora(model: nn.Module, options: Lora) -> None:
    """Put LoRA matrices beside every linear layer of `model.blocks`, in place; only they and the head will learn."""
    targets = [name for name, layer in model.named_modules() if name.startswith("blocks.") and _linear(layer)]
    config = LoraConfig(r=options.rank, lora_alpha=options.alpha, target_modules=targets)
    inject_adapter_in_model(config, model, adapter_name=ADAPTER)
    assert isinstance(model.head, nn.Module)
    model.head.requires_grad_(True)


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model under the names it has without LoRA, each layer's matrices added to its weight.

    The model itself stays as it is. Without LoRA layers this is its state.
    """
    state = {
        name.replace(".base_layer.", "."): tensor for name, tensor in model.state_dict().items() if ".lora_" not in name
    }
    for name, layer in model.named_modules():
        if isinstance(layer, LoraLinear):
            state[f"{name}.weight"] = state[f"{name}.weight"] + layer.get_delta_weight(ADAPTER).detach()
    return state


def _linear(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear)
