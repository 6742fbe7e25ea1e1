"""`crossrank rank`."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from crossrank import Limits, Reranker
from crossrank.calibration import Calibration, weights_hash, write_calibration
from crossrank.reranker import sigmoid
from tests import checkpoints
from tests.vocabularies import letters

QUERY = "what is the capital of france"
DOCUMENTS = ["paris is the capital of france", "berlin is the capital of germany", "a red fox"]
LINES = "\n".join(DOCUMENTS).encode()


@pytest.fixture(scope="module")
def reranker(folder) -> Reranker:
    return Reranker.load(folder, device="cpu")


def test_lines_become_jsonl_best_first(run, folder, reranker):
    done = run("rank", "--query", QUERY, "--model", folder, stdin=LINES)
    assert (done.code, done.err) == (0, "")
    wanted = reranker.rank(QUERY, DOCUMENTS)
    assert done.records == [{"index": hit.index, "score": hit.score, "document": hit.document} for hit in wanted]


def test_a_file_and_a_dash_are_read_alike(run, folder, tmp_path):
    path = tmp_path / "documents.txt"
    path.write_bytes(LINES)
    from_file = run("rank", "-q", QUERY, "-m", folder, path)
    assert from_file.out == run("rank", "-q", QUERY, "-m", folder, "-", stdin=LINES).out != ""


def test_objects_come_back_whole_and_are_scored_by_their_text(run, folder, reranker):
    objects = [{"id": index, "text": document, "tags": ["é"]} for index, document in enumerate(DOCUMENTS)]
    stdin = "\n".join(json.dumps(value, ensure_ascii=False) for value in objects).encode()
    done = run("rank", "-q", QUERY, "-m", folder, stdin=stdin)
    assert done.records == [
        {"index": hit.index, "score": hit.score, "document": objects[hit.index]}
        for hit in reranker.rank(QUERY, DOCUMENTS)
    ]


def test_an_object_without_the_key_is_read_whole_and_that_is_said(run, folder, reranker):
    schema = {"name": "get_weather", "parameters": {"place": "string"}}
    done = run("rank", "-q", QUERY, "-m", folder, stdin=json.dumps(schema).encode())
    assert done.records[0]["score"] == reranker.rank(QUERY, [json.dumps(schema)])[0].score
    assert done.err == "crossrank: 1 object without a string under 'text', read whole; --key names another\n"


def test_the_key_can_be_named(run, folder, reranker):
    stdin = json.dumps({"title": "x", "body": DOCUMENTS[0]}).encode()
    done = run("rank", "-q", QUERY, "-m", folder, "--key", "body", stdin=stdin)
    assert (done.records[0]["score"], done.err) == (reranker.rank(QUERY, DOCUMENTS[:1])[0].score, "")


def test_top_n_shows_the_first(run, folder):
    everything = run("rank", "-q", QUERY, "-m", folder, stdin=LINES).records
    assert run("rank", "-q", QUERY, "-m", folder, "--top-n", 2, stdin=LINES).records == everything[:2]


def test_top_n_0_is_refused(run, folder):
    done = run("rank", "-q", QUERY, "-m", folder, "--top-n", 0, stdin=LINES)
    assert (done.code, done.out) == (3, "")
    assert done.err == "crossrank: top_n should be a whole number from 1, or None for all documents, not 0\n"


def test_a_long_document_says_its_windows_and_the_best_ones_span(run, folder, reranker):
    long = letters(900)
    done = run("rank", "-q", QUERY, "-m", folder, stdin=f"{long}\nshort\n".encode())
    hit = next(hit for hit in reranker.rank(QUERY, [long, "short"]) if hit.index == 0)
    record = next(record for record in done.records if record["index"] == 0)
    assert record == {
        "index": 0,
        "score": hit.score,
        "document": long,
        "windows": hit.windows,
        "span": list(hit.span),
    }
    assert hit.windows > 1
    assert "windows" not in next(record for record in done.records if record["index"] == 1)


def test_a_query_of_5000_tokens_is_cut_and_both_outputs_say_so(run, folder):
    done = run("rank", "-q", letters(5000), "-m", folder, stdin=LINES)
    assert done.code == 0
    assert [record["query_truncated"] for record in done.records] == [True] * 3
    assert done.err == (
        "crossrank: the query is longer than 256 tokens and was cut there; --max-query sets the limit\n"
    )


def test_the_limits_reach_the_model(run, folder):
    limits = Limits(max_length=64, max_query=16, overlap=4, budget=128)
    options = ("--max-length", 64, "--max-query", 16, "--overlap", 4, "--budget", 128)
    done = run("rank", "-q", QUERY, "-m", folder, *options, stdin=letters(300).encode())
    wanted = Reranker.load(folder, device="cpu", limits=limits).rank(QUERY, [letters(300)])[0]
    assert (done.records[0]["windows"], done.records[0]["score"]) == (wanted.windows, wanted.score)


def test_a_least_score_leaves_the_others_out_and_says_what_it_means(run, folder):
    everything = run("rank", "-q", QUERY, "-m", folder, stdin=LINES).records
    least = everything[1]["score"]
    done = run("rank", "-q", QUERY, "-m", folder, "--min-score", least, stdin=LINES)
    assert done.records == [{**record, "probability": record["score"]} for record in everything[:2]]
    assert done.err.startswith("crossrank: the model has no calibration, so --min-score means its scores;")


def test_a_calibrated_model_compares_its_probabilities(run, tmp_path):
    checkpoints.bert().write(tmp_path)
    weights = weights_hash(tmp_path, ("model.safetensors",))
    calibration = Calibration(method="platt", slope=2.0, intercept=-1.0, weights=weights)
    everything = run("rank", "-q", QUERY, "-m", tmp_path, stdin=LINES).records
    write_calibration(tmp_path, calibration)
    logits = [math.log(record["score"] / (1 - record["score"])) for record in everything]
    wanted = [sigmoid(2 * logit - 1) for logit in logits]
    done = run("rank", "-q", QUERY, "-m", tmp_path, "--min-score", (wanted[0] + wanted[1]) / 2, stdin=LINES)
    assert done.err == ""
    assert [record["index"] for record in done.records] == [everything[0]["index"]]
    assert done.records[0]["score"] == everything[0]["score"]
    assert done.records[0]["probability"] == pytest.approx(wanted[0])


def test_a_least_score_is_a_probability(run, folder):
    done = run("rank", "-q", QUERY, "-m", folder, "--min-score", 1.5, stdin=LINES)
    assert done.code == 2
    assert "--min-score" in done.err


def test_no_documents_give_nothing_and_a_word(run, folder):
    done = run("rank", "-q", QUERY, "-m", folder, stdin=b"\n\n")
    assert (done.code, done.out, done.err) == (0, "", "crossrank: no documents in stdin\n")


def test_a_query_is_required(run, folder):
    done = run("rank", "-m", folder, stdin=LINES)
    assert done.code == 2
    assert "--query" in done.err


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        (b"one\ntwo\0\n", "stdin:2: a NUL byte, so this is no text file; give UTF-8 lines or JSONL"),
        (b"one\n\xfftwo\n", "stdin:2: byte 0xff at column 1 is not UTF-8"),
        (b'{"text": "one"}\n{"text": \n', "stdin:2: not JSON: "),
    ],
)
def test_bad_input_is_named_by_its_line(run, folder, stdin, message):
    done = run("rank", "-q", QUERY, "-m", folder, stdin=stdin)
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith(f"crossrank: {message}")


def test_a_missing_file_is_named(run, folder, tmp_path):
    done = run("rank", "-q", QUERY, "-m", folder, tmp_path / "no.txt")
    assert (done.code, done.err) == (3, f"crossrank: {tmp_path}/no.txt cannot be read: No such file or directory\n")


# --- models that cannot be had --------------------------------------------------------------------------------------


def truncated(folder: Path) -> str:
    checkpoints.bert().write(folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:20_000])
    return r"model.safetensors is damaged or incomplete (20,000 bytes)"


def without_weights(folder: Path) -> str:
    folder.mkdir()
    checkpoints.bert().write_sides(folder)
    return "has no model.safetensors and no pytorch_model.bin"


def unknown_architecture(folder: Path) -> str:
    checkpoints.bert().changed(model_type="mamba").write(folder)
    return "no architecture for model_type 'mamba'"


def without_a_tensor(folder: Path) -> str:
    checkpoints.bert().without("classifier").write(folder)
    return "lacks 2 tensors"


@pytest.mark.parametrize("spoil", [truncated, without_weights, unknown_architecture, without_a_tensor])
def test_a_spoiled_model_is_one_line_and_exit_4(run, tmp_path, spoil):
    message = spoil(tmp_path / "model")
    done = run("rank", "-q", QUERY, "-m", tmp_path / "model", stdin=LINES)
    assert (done.code, done.out) == (4, "")
    assert message in done.err
    assert done.err.startswith("crossrank: ")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-m", "no-such-model"), "no model 'no-such-model': neither a folder here, nor"),
        (("--device", "cuda", "--dtype", "int8"), "int8 runs on the CPU only"),
        (("--device", "cuda:9"), "device 'cuda:9' is not here"),
        (("--device", "toaster"), "device 'toaster' is not one"),
    ],
)
def test_what_this_machine_has_not_got_is_one_line_and_exit_4(run, folder, options, message):
    import torch

    if "int8" in options and not torch.cuda.is_available():
        message = "device 'cuda' is not here"
    done = run("rank", "-q", QUERY, *(() if "-m" in options else ("-m", folder)), *options, stdin=LINES)
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith(f"crossrank: {message}")


# --- a terminal -----------------------------------------------------------------------------------------------------


def test_a_terminal_gets_a_table_and_what_it_cost(folder, reranker, terminal):
    ranking = reranker.rank(QUERY, [*DOCUMENTS, letters(900)])
    header, *rows, footer = terminal(
        "rank", "-q", QUERY, "-m", folder, stdin=LINES + f"\n{letters(900)}".encode()
    ).splitlines()
    assert header.split() == ["rank", "index", "score", "document"]
    assert [row.split()[:3] for row in rows] == [
        [str(rank), str(hit.index), f"{hit.score:.3f}"] for rank, hit in enumerate(ranking, 1)
    ]
    windows = max(hit.windows for hit in ranking)
    assert footer.startswith(
        f"4 documents, {ranking.usage.total_tokens:,} tokens · 1 long read in {windows} windows · "
    )
    assert footer.endswith("minilm, float32 on cpu")


def test_a_terminal_gets_probabilities_with_a_least_score(folder, reranker, terminal):
    note, header, *rows, _ = terminal(
        "rank", "-q", QUERY, "-m", folder, "--min-score", "0", "-n", "1", stdin=LINES
    ).splitlines()
    assert note.startswith("crossrank: the model has no calibration")
    assert header.split() == ["rank", "index", "probability", "document"]
    assert [row.split()[2] for row in rows] == [f"{reranker.rank(QUERY, DOCUMENTS)[0].score:.3f}"]


def test_a_terminal_gets_json_if_asked(folder, terminal):
    shown = terminal("rank", "-q", QUERY, "-m", folder, "--json", "--top-n", "1", stdin=LINES)
    assert json.loads(shown)["document"] in DOCUMENTS
