"""Parameters that a stage leaves as they are."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from torch import nn

from crossrank.errors import InputError

__all__ = ["freeze"]


def freeze(model: nn.Module, beginnings: Sequence[str]) -> None:
    """Let parameters whose names begin with one of these learn nothing, in place.

    A beginning ends where a part of the name does: "blocks.1" is not "blocks.10". What lies below the first parameter
    that learns is not computed backwards either. InputError: a beginning that no parameter has, or none left to learn.
    """
    parameters = dict(model.named_parameters())
    for beginning in beginnings:
        stem = beginning.rstrip(".") + "."
        found = [parameter for name, parameter in parameters.items() if f"{name}.".startswith(stem)]
        if not found:
            known = {name.rpartition(".")[0] for name in parameters} | {name.partition(".")[0] for name in parameters}
            near = get_close_matches(beginning, sorted(known), n=1)
            raise InputError(
                f"frozen: no parameter's name begins with {beginning!r}"
                + (f"; did you mean {near[0]!r}?" if near else "")
            )
        for parameter in found:
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise InputError(f"frozen: {', '.join(beginnings)} is all there is, so nothing would learn")
