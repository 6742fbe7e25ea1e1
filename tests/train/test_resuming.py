from __future__ import annotations

import gzip
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossrank.errors import InputError
from crossrank.train.resuming import Block, key_of, refuse_output, resumed

BLOCKS = [range(3), range(3, 4), range(4, 9), range(9, 10)]


def work(items):
    return Block([{"n": n, "text": "é\ud800"} for n in items], {"items": len(items), "half": 0.5})


def part(out):
    return out.with_name(f".{out.name}.part")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """An uninterrupted run's output, and the part that it had written just before it published."""
    folder = tmp_path_factory.mktemp("finished")
    out = folder / "out.jsonl"
    parts = []

    def watched():
        yield from BLOCKS
        parts.append(part(out).read_bytes())

    assert resumed(out, "key", watched(), work) == {"items": 10, "half": 2.0}
    return out.read_bytes(), parts[0]


@settings(max_examples=40)
@given(kept=st.floats(0, 1))
def test_whatever_a_kill_leaves_of_the_part_the_result_is_that_of_a_whole_run(tmp_path_factory, finished, kept):
    whole, written = finished
    out = tmp_path_factory.mktemp("again") / "out.jsonl"
    part(out).write_bytes(written[: round(kept * len(written))])
    assert resumed(out, "key", BLOCKS, work) == {"items": 10, "half": 2.0}
    assert out.read_bytes() == whole
    assert [path.name for path in out.parent.iterdir()] == ["out.jsonl"]


def test_blocks_that_are_done_are_not_done_again(tmp_path):
    done = []

    def once(items):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(items)
        return work(items)

    out = tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        resumed(out, "key", BLOCKS, once)
    assert not out.exists(), "a part is not the output"
    later = []
    resumed(out, "key", BLOCKS, lambda items: later.append(items) or work(items))
    assert later == BLOCKS[2:]


def test_a_part_of_other_work_is_refused(tmp_path):
    out = tmp_path / "out.jsonl"
    with pytest.raises(ZeroDivisionError):
        resumed(out, "key", BLOCKS, lambda items: 1 / 0)
    with pytest.raises(InputError, match="unfinished work with other options, data or models"):
        resumed(out, "other", BLOCKS, work)


def test_two_processes_cannot_do_the_same_work(tmp_path):
    out = tmp_path / "out.jsonl"

    def meanwhile(items):
        with pytest.raises(InputError, match="another process is at this very work"):
            resumed(out, "key", BLOCKS, work)
        return work(items)

    resumed(out, "key", BLOCKS[:1], meanwhile)


def test_gzipped_output_is_the_same_to_the_byte_whenever_it_is_written(tmp_path):
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        resumed(tmp_path / "deeper" / name, "key", BLOCKS, work)
    one, other = (path.read_bytes() for path in sorted((tmp_path / "deeper").iterdir()))
    assert one == other
    assert gzip.decompress(one).count(b"\n") == 10


def test_an_output_that_is_there_is_refused_unless_it_may_be_overwritten(tmp_path):
    (tmp_path / "out").write_text("")
    refuse_output(tmp_path / "out", overwrite=True)
    with pytest.raises(InputError, match="--overwrite"):
        refuse_output(tmp_path / "out", overwrite=False)
    with pytest.raises(InputError, match="is a folder"):
        refuse_output(tmp_path, overwrite=True)


def test_keys_tell_every_part_apart():
    keys = [key_of(*parts) for parts in itertools.permutations(["a", 1, None])]
    assert len(set(keys)) == len(keys)
    assert key_of("1") != key_of(1)
