from __future__ import annotations

import subprocess
import sys

import pytest

from crossrank.errors import InputError
from crossrank.evaluate.journal import Done, Journal

ONE = Done("q1", {"d1": 0.1, "d2": -3.5e-9}, 1.5, 40, 1000)
TWO = Done("q2", {}, 0.0, None, None)


def test_what_was_done_is_read_back_to_the_last_bit(tmp_path):
    path = tmp_path / "a" / "j.jsonl"
    with Journal(path).open() as journal:
        journal.ready(0.25)
        journal.add(ONE)
        journal.add(TWO)
    with Journal(path).open() as journal:
        assert journal.done == {"q1": ONE, "q2": TWO}
        assert journal.ready_seconds == 0.25


def test_a_line_torn_by_a_kill_is_dropped_and_written_anew(tmp_path):
    path = tmp_path / "j.jsonl"
    with Journal(path).open() as journal:
        journal.add(ONE)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"query": "q2", "sco')
    with Journal(path).open() as journal:
        assert list(journal.done) == ["q1"]
        journal.add(TWO)
    assert path.read_bytes().startswith(whole)
    with Journal(path).open() as journal:
        assert journal.done == {"q1": ONE, "q2": TWO}


def test_a_whole_line_that_makes_no_sense_is_named(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_text('{"query": "q1"}\n')
    with pytest.raises(InputError, match=f"{path}:1 is damaged"), Journal(path).open():
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks there")
def test_two_processes_do_not_write_one_journal(tmp_path):
    path = tmp_path / "j.jsonl"
    other = (
        "import sys; from pathlib import Path; from crossrank.evaluate.journal import Journal\n"
        "with Journal(Path(sys.argv[1])).open(): print('open', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", other, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(InputError, match="another process"), Journal(path).open():
            pass
        holder.stdin.close()
        holder.wait()
    with Journal(path).open() as journal:
        assert journal.done == {}
