"""The app over HTTP: models, limits, errors, keys, what it tells, and what it survives."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from crossrank.batch import Filled
from tests.serve.conftest import until

BODY = {"query": "the river", "documents": ["a fox", "the bank"]}
RERANKS = ["/rerank", "/v1/rerank", "/v2/rerank", "/v1/reranking", "/reranking", "/v1/ranking", "/score", "/v1/score"]
GUARDED = [("POST", path) for path in [*RERANKS, "/predict", "/api/rerank", "/infinity/rerank"]] + [
    ("GET", path)
    for path in [
        "/",
        "/docs",
        "/openapi.json",
        "/playground/app.js",
        "/metrics",
        "/v1/models",
        "/models",
        "/info",
        "/meta",
    ]
    + ["/v1/models/tiny", "/nothing"]
]
OPEN = ["/health", "/healthz", "/live", "/ready", "/ping", "/.well-known/live", "/.well-known/ready"]
OPEN += ["/v1/health/live", "/v1/health/ready", "/v1/cluster/auth"]


def spoil(live, error: BaseException) -> None:
    """From now on the model's scorer raises; put back by the caller's server going away."""

    def fails(sequences: list[Filled]) -> list[float]:
        raise error

    live.service.models.served["tiny"].loaded.batcher.score = fails


def slow(live, seconds: float) -> None:
    """From now on each batch takes longer."""
    batcher = live.service.models.served["tiny"].loaded.batcher
    score = batcher.score

    def later(sequences: list[Filled]) -> list[float]:
        time.sleep(seconds)
        return score(sequences)

    batcher.score = later


def test_health_is_good_and_models_are_listed_for_openai_and_jina(live):
    for path in OPEN:
        assert live.http.get(path).status_code in (200, 204)
        assert live.http.head(path).status_code in (200, 204)
    body = live.http.get("/v1/models").json()
    assert body["object"] == "list"
    (model,) = body["data"]
    assert (model["id"], model["object"], model["model_type"], model["context_length"]) == (
        "tiny",
        "model",
        "rerank",
        128,
    )
    assert live.http.get("/v1/models/jinaai/jina-reranker-v2").json() == model


def test_info_tells_what_text_embeddings_inference_tells(live):
    info = live.http.get("/info").json()
    assert "reranker" in info["model_type"]
    assert (info["max_input_length"], info["model_id"]) == (128, "tiny")


def test_info_of_a_lazy_server_has_numbers_too(serve, folder, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with serve(lazy=True) as live:
        assert live.http.get("/info").json()["max_input_length"] == 128
    with serve(model=(f"broken={tmp_path}",), lazy=True) as live:
        refused = live.http.get("/info")
        assert (refused.status_code, refused.json()["error_type"]) == (503, "Unhealthy")


def test_unknown_paths_and_methods_get_the_same_error_body(live):
    for method, path, status in (("GET", "/nothing", 404), ("GET", "/v1/rerank", 405), ("POST", "/health", 405)):
        response = live.http.request(method, path)
        assert response.status_code == status
        assert set(response.json()) >= {"detail", "code", "request_id", "message", "error"}


def test_a_request_id_comes_back_and_a_strange_one_is_replaced(live):
    assert live.post("/v1/rerank", BODY, x_request_id="my-id-7").headers["x-request-id"] == "my-id-7"
    assert live.post("/v1/rerank", BODY, x_request_id="a b\tc").headers["x-request-id"] != "a b\tc"


def test_timing_is_told_in_the_headers(live):
    headers = live.post("/rerank", {"query": "q", "texts": ["a"]}).headers
    assert int(headers["x-compute-tokens"]) > 0
    assert int(headers["x-total-time"]) >= 0
    assert "inference;dur=" in headers["server-timing"]


def test_two_models_answer_by_name_and_refuse_other_names(serve, folder):
    with serve(model=(f"one={folder}", f"two={folder}?dtype=int8")) as live:
        assert live.post("/v1/rerank", BODY).json()["model"] == "one"
        two = live.post("/v1/rerank", {**BODY, "model": "two"}).json()
        assert two["model"] == "two"
        refused = live.post("/v1/rerank", {**BODY, "model": "three"})
        assert refused.status_code == 400
        assert refused.json()["code"] == "INPUT_MODEL_NOT_FOUND"
        assert "one, two" in refused.json()["detail"]
        assert [model["dtype"] for model in live.http.get("/v1/models").json()["data"]] == ["float32", "int8"]


def test_a_lazy_model_is_loaded_by_its_first_request_once(serve):
    with serve(lazy=True) as live:
        assert not live.service.models.served["tiny"].loaded
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: live.post("/v1/rerank", BODY).status_code, range(4)))
        assert answers == [200] * 4
        workers = [thread for thread in threading.enumerate() if thread.name == "batches of tiny"]
        loaded = live.service.models.served["tiny"].loaded
        assert loaded.batcher.thread in workers


def test_a_lazy_model_that_cannot_be_loaded_is_a_503_that_says_why(serve, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with serve(model=(f"broken={tmp_path}",), lazy=True) as live:
        for _ in range(2):
            refused = live.post("/v1/rerank", BODY)
            assert refused.status_code == 503
            assert "no model.safetensors" in refused.json()["detail"]
        assert live.http.get("/ready").status_code == 503


def test_only_named_models_answer_where_any_name_will_not_do(serve):
    with serve(any_model=False) as live:
        assert live.post("/v1/rerank", {**BODY, "model": "x"}).status_code == 400
        assert live.post("/v2/rerank", {**BODY, "model": "x"}).status_code == 404
        assert live.post("/v1/rerank", {**BODY, "model": "tiny"}).status_code == 200


def test_every_route_but_health_asks_for_a_key(serve):
    with serve(api_key=("secret-1", "secret-2")) as live:
        routes = {(method, route.path) for route in live.app.routes for method in route.methods}
        every = {(m, p.replace("{name:path}", "x")) for m, p in routes if p not in OPEN}
        assert len(every) > 30
        for method, path in [*GUARDED, *sorted(every)]:
            assert live.http.request(method, path, json=BODY).status_code == 401, path
            wrong = live.http.request(method, path, json=BODY, headers={"authorization": "Bearer secret-3"})
            assert wrong.status_code == 401, path
            if method != "HEAD":
                assert wrong.json()["code"] == "AUTH_INVALID_API_KEY"
        for path in OPEN:
            assert live.http.get(path).status_code in (200, 204), path


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer secret-2"},
        {"authorization": "bearer secret-2"},
        {"authorization": "secret-2"},
        {"x-api-key": "secret-2"},
        {"authorization": "Basic OnNlY3JldC0y"},
        {"authorization": "Bearer other", "x-api-key": "secret-2"},
    ],
)
def test_a_key_is_taken_however_a_client_sends_it(serve, headers):
    with serve(api_key=("secret-1", "secret-2"), lazy=True) as live:
        assert live.http.get("/v1/models", headers=headers).status_code == 200


def test_a_rotated_file_of_keys_needs_no_restart(serve, tmp_path):
    file = tmp_path / "keys"
    file.write_text("old\n")
    with serve(api_key_file=str(file), lazy=True) as live:
        assert live.http.get("/v1/models", headers={"x-api-key": "old"}).status_code == 200
        file.write_text("new-one\n")
        until(lambda: live.http.get("/v1/models", headers={"x-api-key": "new-one"}).status_code == 200, 3)
        assert live.http.get("/v1/models", headers={"x-api-key": "old"}).status_code == 401


def test_a_key_of_any_kind_is_ignored_where_none_is_needed(live):
    assert live.post("/v1/rerank", BODY, authorization="Bearer fake-api-key").status_code == 200


def test_rates_are_told_and_kept_per_key(serve):
    with serve(api_key=("a-key", "b-key"), requests_per_minute=2, tokens_per_minute=1000) as live:
        first = live.post("/v1/rerank", BODY, authorization="a-key")
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        used = first.json()["usage"]["total_tokens"]
        assert int(first.headers["x-ratelimit-remaining-tokens"]) == 1000 - used
        live.post("/v1/rerank", BODY, authorization="a-key")
        third = live.post("/v1/rerank", BODY, authorization="a-key")
        assert (third.status_code, third.json()["code"]) == (429, "RATE_REQUEST_LIMIT_EXCEEDED")
        told = [third.headers[f"x-ratelimit-{what}-requests"] for what in ("limit", "remaining")]
        assert told == ["2", "0"]
        assert 1 <= int(third.headers["retry-after"]) <= 31
        assert live.post("/v1/rerank", BODY, authorization="b-key").status_code == 200


def test_tokens_past_the_rate_are_refused(serve):
    with serve(tokens_per_minute=10) as live:
        assert live.post("/v1/rerank", {"query": "river " * 9, "documents": ["fox " * 9]}).status_code == 200
        refused = live.post("/v1/rerank", BODY)
        assert (refused.status_code, refused.json()["code"]) == (429, "RATE_TOKEN_LIMIT_EXCEEDED")


def test_too_many_documents_and_too_large_a_body_are_413(serve):
    with serve(max_documents=3, max_body_bytes=2000) as live:
        many = live.post("/v1/rerank", {"query": "q", "documents": ["d"] * 4})
        assert (many.status_code, many.json()["code"]) == (413, "TOO_MANY_DOCUMENTS")
        for size in (3000, 6000, 100_000):
            large = live.post("/v1/rerank", {"query": "q", "documents": ["d" * size]})
            assert (large.status_code, large.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")

        def chunks():
            yield b'{"query": "q", "documents": ["'
            yield b"d" * 3000
            yield b'"]}'

        assert live.http.post("/v1/rerank", content=chunks()).status_code == 413
        assert live.post("/v1/rerank", BODY).status_code == 200


def test_a_deadline_that_passes_is_a_504_and_frees_the_queue(serve):
    with serve() as live:
        slow(live, 0.3)
        late = live.post("/v1/rerank", BODY, x_request_timeout="0.1")
        assert (late.status_code, late.json()["code"]) == (504, "SERVICE_TIMEOUT")
        assert live.post("/v1/rerank", BODY, x_request_timeout="soon").status_code == 422
        assert live.post("/v1/rerank", BODY).status_code == 200
        assert live.service.models.served["tiny"].loaded.batcher.tokens == 0


def test_a_client_that_goes_away_frees_its_tokens(serve):
    with serve() as live:
        slow(live, 0.2)
        batcher = live.service.models.served["tiny"].loaded.batcher
        with pytest.raises(httpx.ReadTimeout):
            live.http.post("/v1/rerank", json={"query": "q", "documents": ["fox " * 100] * 300}, timeout=0.3)
        until(lambda: not batcher.jobs, 5)
        assert batcher.tokens == 0
        assert b"crossrank_cancelled_total 1.0" in live.http.get("/metrics").content


def test_a_request_on_which_the_model_fails_gets_an_error_and_the_next_an_answer(serve):
    with serve() as live:
        batcher = live.service.models.served["tiny"].loaded.batcher
        good = batcher.score

        def sometimes(sequences: list[Filled]) -> list[float]:
            if max(map(len, sequences)) > 100:
                raise RuntimeError("out of memory")
            return good(sequences)

        batcher.score = sometimes
        assert live.post("/v1/rerank", {"query": "q", "documents": ["fox " * 110]}).status_code == 500
        tei = live.post("/rerank", {"query": "q", "texts": ["fox " * 110]})
        assert (tei.status_code, tei.json()["error_type"]) == (424, "Backend")
        assert live.post("/v1/rerank", BODY).status_code == 200
        assert live.http.get("/ready").status_code == 200


def test_a_dying_worker_takes_readiness_down_and_answers_503(serve):
    with serve() as live:
        spoil(live, RuntimeError("the device is gone"))
        assert live.post("/v1/rerank", BODY).status_code == 503
        until(lambda: live.http.get("/ready").status_code == 503)
        assert live.http.get("/live").status_code == 503
        assert live.http.get("/.well-known/ready").status_code == 503
        assert live.post("/v1/rerank", BODY).json()["code"] == "SERVICE_UNAVAILABLE"


def test_a_full_server_says_429_at_once_with_retry_after(serve):
    with serve(max_concurrent_requests=1) as live:
        slow(live, 0.5)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(live.post, "/v1/rerank", BODY)
            until(lambda: live.service.models.served["tiny"].loaded.batcher.jobs)
            start = time.monotonic()
            refused = live.post("/v1/rerank", BODY)
            assert time.monotonic() - start < 0.25
            assert refused.status_code == 429
            assert int(refused.headers["retry-after"]) >= 1
            assert first.result().status_code == 200


def test_metrics_count_what_happened(serve):
    with serve() as live:
        live.post("/v1/rerank", BODY)
        live.post("/v1/rerank", {})
        text = live.http.get("/metrics").text
    assert 'crossrank_requests_total{dialect="jina",model="tiny",status="200"} 1.0' in text
    assert 'crossrank_rejected_total{kind="validation"} 1.0' in text
    assert 'crossrank_request_seconds_count{model="tiny",stage="total"} 1.0' in text
    assert 'crossrank_queue_tokens{model="tiny"} 0.0' in text
    assert "crossrank_ready 1.0" in text


def test_the_log_has_no_text_of_a_request(serve, caplog):
    with serve() as live, caplog.at_level("DEBUG", logger="crossrank"):
        live.post("/v1/rerank", {"query": "confidential-query", "documents": ["confidential-document"]})
        live.post("/v1/rerank", {"query": "q", "documents": ["confidential-document"], "top_n": "confidential-number"})
    lines = [record for record in caplog.records if record.getMessage() == "request"]
    assert [line.status for line in lines] == [200, 422]
    assert (lines[0].dialect, lines[0].model, lines[0].documents) == ("jina", "tiny", 1)
    assert "confidential" not in str([vars(record) for record in caplog.records])


def test_pages_of_an_allowed_origin_may_call(serve):
    with serve(cors_origin=("https://app.example",), api_key=("k",)) as live:
        headers = {"origin": "https://app.example", "access-control-request-method": "POST"}
        preflight = live.http.options("/v1/rerank", headers=headers)
        assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, "https://app.example")
        other = live.http.options("/v1/rerank", headers={**headers, "origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        refused = live.http.post("/v1/rerank", json=BODY, headers={"origin": "https://app.example"})
        assert refused.headers["access-control-allow-origin"] == "https://app.example"
