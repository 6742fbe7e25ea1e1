from __future__ import annotations

import itertools
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrank.calibration import FILE, Calibration, read_calibration, weights_hash, write_calibration
from crossrank.errors import CheckpointError, ModelError
from crossrank.reranker import sigmoid

WEIGHTS = ("model.safetensors",)
LOGITS = st.floats(-50, 50)
KNOTS = st.lists(st.tuples(st.floats(-9, 9), st.floats(0, 1)), min_size=1, max_size=6, unique_by=lambda k: k[0]).map(
    lambda knots: tuple(zip(sorted(x for x, _ in knots), sorted(y for _, y in knots), strict=True))
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return tmp_path


@given(
    st.fixed_dictionaries({"method": st.just("platt"), "slope": st.floats(0.01, 10), "intercept": st.floats(-5, 5)})
    | st.fixed_dictionaries({"method": st.just("isotonic"), "knots": KNOTS}),
    st.lists(LOGITS, min_size=2),
)
def test_a_probability_never_falls_as_the_logit_grows(settings, logits):
    calibration = Calibration(**settings)
    found = [calibration.probability(logit) for logit in sorted(logits)]
    assert all(0 <= each <= 1 for each in found)
    assert all(low <= high + 1e-12 for low, high in itertools.pairwise(found))


def test_the_maps_are_what_they_say():
    assert Calibration(method="temperature", slope=0.5).probability(2.0) == sigmoid(1.0)
    assert Calibration(method="platt", slope=2.0, intercept=-1.0).probability(3.0) == sigmoid(5.0)
    steps = Calibration(method="isotonic", knots=((0.0, 0.2), (2.0, 0.6)))
    assert [steps.probability(x) for x in (-9, 0, 1, 2, 9)] == pytest.approx([0.2, 0.2, 0.4, 0.6, 0.6])


def test_what_is_stored_is_read_back(folder):
    assert read_calibration(folder, WEIGHTS) is None
    written = Calibration(
        method="isotonic", knots=((0.0, 0.1), (1.5, 0.9)), threshold=0.3, weights=weights_hash(folder, WEIGHTS),
        facts={"pairs": 9},
    )  # fmt: skip
    assert write_calibration(folder, written) == folder / FILE
    assert read_calibration(folder, WEIGHTS) == written


def test_a_calibration_of_other_weights_is_refused(folder):
    write_calibration(folder, Calibration(method="platt", weights=weights_hash(folder, WEIGHTS)))
    (folder / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(CheckpointError, match="fitted for other weights"):
        read_calibration(folder, WEIGHTS)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"method": "magic"}', '{"method": "isotonic"}', '{"method": "platt", "slop": 1}']
)
def test_a_damaged_calibration_is_refused(folder, content):
    (folder / FILE).write_text(content)
    with pytest.raises(CheckpointError, match="is no calibration"):
        read_calibration(folder, WEIGHTS)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_cannot_be_written_to_says_what_to_do(folder):
    folder.chmod(0o500)
    with pytest.raises(ModelError, match="copy the model"):
        write_calibration(folder, Calibration(method="platt"))
    folder.chmod(0o700)


def test_a_failed_write_leaves_the_old_calibration_whole(folder):
    write_calibration(folder, Calibration(method="platt", slope=3.0))
    with pytest.raises(TypeError):
        write_calibration(folder, Calibration(method="platt", facts={"bad": object()}))
    assert json.loads((folder / FILE).read_text())["slope"] == 3.0
    assert sorted(path.name for path in folder.iterdir()) == [FILE, "model.safetensors"]
