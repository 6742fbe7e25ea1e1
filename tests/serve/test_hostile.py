"""What is sent in error or in malice: no 500, nobody waits for ever, and memory stays where it was."""

from __future__ import annotations

import bisect
import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.serve.conftest import Live, answers, client, free_port, started, until

BODY = {"query": "the river", "documents": ["a fox", "the bank"]}
PATHS = ["/rerank", "/v1/rerank", "/v2/rerank", "/v1/ranking", "/v1/score", "/predict", "/api/rerank"]
PATHS += ["/weaviate/rerank", "/voyage/rerank"]
HOSTILE = [
    b"",
    b"null",
    b"[]",
    b'"x"',
    b"{",
    b"\xff\xfe{}",
    b'{"query": "q\xff", "documents": ["d"]}',
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"query": "q", "documents": ["d"], "top_n": ' + b"9" * 5000 + b"}",
    b'{"query": "q", "documents": ["d"], "top_n": 1e999}',
    b'{"query": "q", "documents": ["d"], "top_n": NaN}',
    b'{"query": "q", "documents": [{"text": "d", "weight": 1e999}]}',
    b'{"query": "q", "documents": [{"text": "d", "weight": -Infinity}]}',
    b'{"query": "q", "documents": ["d"], "top_n": {"a": 1}}',
    b'{"query": "q", "documents": ["d"], "model": 7}',
    b'{"query": "q", "documents": {"0": "d"}}',
    b'{"query": "q", "documents": [null]}',
    b'{"query": "q", "documents": [["d"]]}',
    b'{"query": ["q"], "documents": ["d"]}',
    b'{"query": true, "documents": ["d"]}',
    b'{"query": {}, "documents": ["d"]}',
    b'{"query": "q", "documents": [{"content": [{"type": "image_url"}]}]}',
    b'{"query": "q", "documents": [{"content": 7}]}',
    b'{"query": "q", "texts": "d"}',
    b'{"query": "q", "documents": ["d"], "rank_fields": 7}',
    b'{"query": "q", "documents": ["d"], "return_documents": "perhaps"}',
    b'{"query": "q", "documents": ["d"], "priority": "soon"}',
    b'{"query": "q", "documents": ["d"], "relevant_spans": 7}',
    b'{"text_1": {}, "text_2": []}',
    b'{"inputs": "one"}',
    b'{"inputs": [["a"]]}',
]


def test_a_list_that_is_too_long_is_refused_before_its_elements_are_read(serve):
    with serve(max_documents=5) as live:
        for body in ({"query": "q", "documents": [7] * 6}, {"query": "q", "texts": [7] * 6}, {"inputs": [7] * 6}):
            response = live.post("/predict" if "inputs" in body else "/v1/rerank", body)
            assert response.status_code == 413, response.text
            assert "takes 5 at once" in response.text


def test_a_compressed_body_is_refused_by_name(live):
    response = live.http.post("/v1/rerank", content=gzip.compress(b"{}"), headers={"content-encoding": "gzip"})
    assert response.status_code == 415
    assert "'gzip' is not read here" in response.json()["detail"]


@pytest.mark.parametrize("word", ["", "identity", "Identity", "IDENTITY"])
def test_a_body_that_says_it_is_not_compressed_is_read(live, word):
    content = json.dumps(BODY).encode()
    assert live.http.post("/v1/rerank", content=content, headers={"content-encoding": word}).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_hostile_bodies_are_refused_in_words(live, path):
    for raw in HOSTILE:
        response = live.http.post(path, content=raw)
        assert 200 <= response.status_code < 500, (path, raw[:80], response.text)
        if response.status_code != 200:
            assert response.json()["detail"]


@pytest.mark.parametrize("number", ["1e999", "9" * 400, "-" + "9" * 400])
def test_a_number_that_readers_of_json_cannot_hold_is_refused_wherever_it_is(live, number):
    for body in (
        '{"query": "q", "documents": [{"text": "d", "id": %s}]}',
        '{"query": "q", "documents": ["d"], "top_n": %s}',
    ):
        response = live.http.post("/v1/rerank", content=body % number)
        assert response.status_code == 422
        assert "is too large" in response.json()["detail"]
    assert live.http.post("/v1/rerank", content=body % ("9" * 300)).status_code == 200


ODD = [
    "\ud800 alone",
    "nul \x00 inside",
    "\U0001f98a\U0001f98a",
    "\u202e reversed",
    "[CLS] [SEP] </s>",
    "",
    " \n\t ",
    "a" * 5000,
]


def test_odd_texts_are_scored_and_come_back_unharmed(live):
    raw = json.dumps({"query": "\udfff q", "documents": ODD})
    response = live.http.post("/v1/rerank", content=raw)
    assert response.status_code == 200
    back = json.loads(response.content)
    assert {hit["index"]: hit["document"]["text"] for hit in back["results"]} == dict(enumerate(ODD))


def test_a_body_just_shallow_enough_to_be_read_is_not_too_deep_to_be_answered(live):
    def status(depth: int) -> int:
        nested = b"[" * depth + b"]" * depth
        raw = b'{"query": "q", "documents": [{"text": "d", "more": ' + nested + b"}]}"
        return live.http.post("/v1/rerank", content=raw).status_code

    deepest = bisect.bisect_left(range(200_000), 400, key=status)
    assert deepest > 100
    assert [status(depth) for depth in range(deepest - 2, deepest + 6)] == [200] * 2 + [400] * 6


def connection(live: Live) -> socket.socket:
    host, port = live.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=5)


HEAD = b"POST /v1/rerank HTTP/1.1\r\nhost: x\r\n"


def test_a_connection_that_never_sends_its_head_is_hung_up_on(serve):
    with serve(header_timeout=0.3) as live, connection(live) as idle:
        idle.sendall(HEAD + b"x-slow: ")
        assert idle.recv(100) == b""


def test_a_second_head_that_trickles_is_hung_up_on_and_a_quiet_connection_is_not(serve):
    with serve(header_timeout=0.3) as live, connection(live) as one:
        for _ in range(2):
            one.sendall(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n")
            assert b"200 OK" in whole_answer(one)
            time.sleep(0.5)
        start = time.monotonic()
        while trickle(one):
            assert time.monotonic() - start < 2
            time.sleep(0.05)


def whole_answer(one: socket.socket) -> bytes:
    """Head and body of a JSON answer: they may come in two pieces."""
    received = b""
    while not received.endswith(b"}"):
        piece = one.recv(2000)
        assert piece, f"hung up after {received!r}"
        received += piece
    return received


def trickle(one: socket.socket) -> bool:
    """One more letter; False once the server has hung up."""
    try:
        return one.send(b"G") == 1
    except OSError:
        return False


@pytest.mark.parametrize("length", [b"100", b"3000"], ids=["within the limit", "past the limit"])
def test_a_body_that_never_ends_is_a_408(serve, length):
    with serve(body_timeout=0.3, max_body_bytes=1000) as live, connection(live) as slow:
        slow.sendall(HEAD + b"content-length: " + length + b"\r\n\r\n{")
        assert b"408" in slow.recv(100)


def test_a_body_of_100_megabytes_is_a_413_and_leaves_no_memory_behind(folder):
    port = free_port()
    with started("--model", f"tiny={folder}", "--port", str(port)) as process, client(port) as http:
        until(lambda: answers(http) == 200, 60)
        assert http.post("/v1/rerank", json=BODY).status_code == 200
        before = resident(process.pid)

        def large() -> Iterator[bytes]:
            yield b'{"query": "q", "documents": ["'
            for _ in range(100):
                yield b"d" * (1 << 20)
            yield b'"]}'

        size = str(sum(map(len, large())))
        for headers in ({}, {"content-length": size}):
            response = http.post("/v1/rerank", content=large(), headers=headers)
            assert (response.status_code, response.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")
        assert resident(process.pid) - before < 80
        assert http.post("/v1/rerank", json=BODY).status_code == 200


def resident(pid: int) -> float:
    """MiB that a process has held in memory at the most."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def test_a_thousand_documents_of_two_kilobytes_are_within_the_default_limits(live):
    documents = [f"{number} " + "the river " * 200 for number in range(1000)]
    response = live.post("/v1/rerank", {"query": "q", "documents": documents, "max_doc_length": 4, "top_n": 1})
    assert response.status_code == 200
    assert len(response.json()["results"]) == 1


def test_many_who_trickle_do_not_keep_others_out(serve):
    with serve(body_timeout=3, header_timeout=3) as live:
        slow = [connection(live) for _ in range(50)]
        for number, one in enumerate(slow):
            one.sendall(HEAD + (b"content-length: 100\r\n\r\n{" if number % 2 else b"x: "))
        done = threading.Event()
        threading.Thread(target=lambda: live.post("/v1/rerank", BODY).status_code == 200 and done.set()).start()
        assert done.wait(2)
        for one in slow:
            one.close()
