"""The command line as a whole: its table, its help, its exit codes. Some of it in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec

import pytest

import crossrank
from crossrank import cli
from crossrank.errors import MissingExtra
from crossrank.scorer import DTYPES

CROSSRANK = [sys.executable, "-m", "crossrank"]


def test_help_lists_every_command_with_its_line(run):
    done = run("--help")
    assert done.code == 0
    words = " ".join(done.out.split())
    assert all(f"{name} {line}" in words for name, (_, line) in cli.COMMANDS.items())


@pytest.mark.parametrize("name", ["rank", "score", "show", "verify"])
def test_a_commands_help_begins_with_its_line_of_the_table(run, name):
    done = run(name, "--help")
    assert done.code == 0
    assert cli.COMMANDS[name][1] in " ".join(done.out.split())


def test_the_version_is_the_packages(run):
    assert run("--version").out == f"crossrank {crossrank.__version__}\n"


def test_without_a_command_the_help_is_shown_and_the_usage_is_wrong(run):
    done = run()
    assert done.code == 2
    assert "Commands:" in done.out + done.err


def test_a_wrong_command_names_the_near_match(run):
    done = run("rnak")
    assert done.code == 2
    assert "no command 'rnak'; did you mean 'rank'?" in done.err
    assert "-h lists them" in run("zzz").err


def test_a_wrong_option_names_the_near_match(run):
    done = run("rank", "--querry", "x")
    assert done.code == 2
    assert "--query" in done.err


def test_a_command_whose_module_is_not_installed_says_so(run, monkeypatch):
    monkeypatch.setitem(cli.COMMANDS, "fly", ("crossrank.cli.fly", "Fly."))
    done = run("fly")
    assert done.code == MissingExtra.exit_code
    assert done.err == (
        "crossrank: this installation has no `fly` command: crossrank.cli.fly is missing; install crossrank again\n"
    )


def test_every_command_here_has_a_function_named_command():
    for module, _ in cli.COMMANDS.values():
        if find_spec(module) is not None:
            assert callable(__import__(module, fromlist=["command"]).command)


def test_the_dtypes_offered_are_the_scorers(run):
    from crossrank.cli.options import DtypeName

    assert [name.value for name in DtypeName] == list(DTYPES)


def test_an_unknown_dtype_is_wrong_usage_and_the_known_ones_are_named(run, folder):
    done = run("rank", "-q", "x", "-m", folder, "--dtype", "float8", stdin=b"a\n")
    assert done.code == 2
    assert all(name in done.err for name in DTYPES)


def test_an_interrupt_ends_with_130_and_no_traceback(folder):
    """Scoring waits for its input, so the signal finds it at work."""
    with subprocess.Popen(
        [*CROSSRANK, "score", "-m", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        # A script's background job, and so what it starts, ignores the signal.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        block = b'{"query": "a", "document": "b"}\n' * 256
        process.stdin.write(block)
        process.stdin.flush()
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr.read() == b""


def test_a_reader_that_leaves_is_no_error_worth_words(folder, tmp_path):
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"query": "a", "document": "b" * 400}) + "\n")
    pairs.write_text(pairs.read_text() * 600)
    with subprocess.Popen(
        [*CROSSRANK, "score", "-m", str(folder), str(pairs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == cli.CLOSED_PIPE
        assert process.stderr.read() == b""


@pytest.mark.parametrize(
    ("command", "closed"),
    [
        ("rank -q fox -m {}", "2>&-"),
        ("rank -q fox -m {}", ">&- 2>&-"),
        ("score -m {}", "2>&-"),
        ("score -m {}", ">&-"),
        ("show {}", ">&-"),
        ("show no-such-model", "2>&-"),
    ],
)
def test_a_stream_that_is_closed_stops_no_command(folder, command, closed):
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m crossrank {command.format(folder)} {closed}', sys.executable],
        input=b'{"query": "a", "document": "b"}\n',
        capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == (4 if "no-such-model" in command else 0), done.stderr
    assert b"Traceback" not in done.stderr
    if closed == "2>&-" and done.returncode == 0:
        assert json.loads(done.stdout)


def test_a_process_of_its_own_ranks_a_file(folder, tmp_path):
    documents = tmp_path / "documents.txt"
    documents.write_text("paris is the capital of france\na red fox\n")
    done = subprocess.run(
        [*CROSSRANK, "rank", "-q", "what is the capital of france", "-m", str(folder), str(documents)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {json.loads(line)["document"] for line in done.stdout.splitlines()} == {
        "paris is the capital of france",
        "a red fox",
    }
