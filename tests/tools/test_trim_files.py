"""What a trim writes: tensors as they were stored, or nothing."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from crossrank.errors import ModelError
from crossrank.nibbles import packed
from crossrank.tools.trim import trim
from tests import texts
from tests.tools.test_trim import MADE_OF, learned, logits, publish, spared


def test_a_full_disk_is_said_and_nothing_left_behind(tmp_path):
    resource = pytest.importorskip("resource")
    old = publish(tmp_path / "old", "xlm_roberta", learned("unigram"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))  # the weights are more, all else is less
    try:
        with pytest.raises(ModelError, match="new cannot be written: .*File too large"):
            trim(old, tmp_path / "new", texts.ALL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("kind", MADE_OF)
def test_matrices_in_four_bits_a_weight_stay_in_them(kind, tmp_path):
    old = publish(tmp_path / "old", "dual", learned(kind))
    whole = load_file(old / "model.safetensors")
    stored = {}
    for name, tensor in whole.items():
        blocks = tensor.ndim == 2 and tensor.shape[1] % 32 == 0 and packed(name, in_blocks(tensor))
        stored |= blocks or {name: tensor}
    save_file(stored, old / "model.safetensors")
    assert sum(name.endswith(".nibbles") for name in stored) > 5
    report = trim(old, tmp_path / "new", texts.ALL[::2])
    new = load_file(tmp_path / "new" / "model.safetensors")
    assert {name: tensor.dtype for name, tensor in new.items()} == {n: t.dtype for n, t in stored.items()}
    assert report.weight_bytes_before == sum(tensor.nbytes for tensor in stored.values())
    assert report.weight_bytes == sum(tensor.nbytes for tensor in new.values()) < report.weight_bytes_before
    same = spared(old, tmp_path / "new", texts.ALL)
    assert torch.equal(logits(old, same), logits(tmp_path / "new", same))


def in_blocks(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix as 4-bit blocks can hold it: each run of 32 a scale's multiples from -8 to 7."""
    runs = matrix.unflatten(1, (-1, 32))
    scales = (runs.gather(2, runs.abs().argmax(2, keepdim=True)) / -8).half().float()
    return ((runs / scales).round().clamp(-8, 7) * scales).flatten(1)
