"""The door: paths and prefixes, and refusals in the shape of the format that the path names."""

from __future__ import annotations

import re

import pytest

from crossrank.serve.door import tidy

BODY = {"query": "the river", "documents": ["a fox", "the bank"]}


@pytest.mark.parametrize(
    ("path", "tidied"),
    [
        ("/", ("/", None)),
        ("//v1//rerank/", ("/v1/rerank", None)),
        ("/v1/v1/rerank", ("/v1/rerank", None)),
        ("/infinity/v1/rerank", ("/v1/rerank", "infinity")),
        ("/weaviate/meta", ("/meta", "weaviate")),
        ("/score", ("/score", None)),
        ("/own/score", ("/score", None)),
        ("/own/infinity/rerank", ("/rerank", "infinity")),
        ("/other/rerank", ("/other/rerank", None)),
    ],
)
def test_a_path_is_read_through_its_prefixes(path, tidied):
    assert tidy(path, "own") == tidied


@pytest.mark.parametrize("path", ["/v1/health/ready", "/v1/health/live", "/v1/cluster/auth", "/v1/v1/health/ready"])
def test_a_prefix_that_is_a_version_hides_no_path(serve, path):
    with serve(url_prefix="/v1", api_key=("k",), lazy=True) as live:
        assert live.http.get(path).status_code == 200
        assert live.http.get("/v1/models", headers={"x-api-key": "k"}).status_code == 200


def test_on_a_unix_socket_a_caller_is_who_the_proxy_says_and_not_who_it_says_itself(serve, tmp_path):
    with serve(uds=str(tmp_path / "s"), requests_per_minute=100, lazy=True) as live:

        def left(*hops: str) -> int:
            headers = [("x-forwarded-for", each) for each in hops]
            return int(live.http.post("/v1/rerank", headers=headers).headers["x-ratelimit-remaining-requests"])

        assert left("10.0.0.1") == 99
        assert left("6.6.6.1, 10.0.0.1") == 98
        assert left("6.6.6.2", "10.0.0.1") == 97
        assert left("10.0.0.2") == 99
        assert left() == 99


def test_a_prefix_of_the_operators_is_taken_off(serve):
    with serve(url_prefix="/search/ranker") as live:
        for path in ("/search/ranker/v1/rerank", "/v1/rerank"):
            assert live.post(path, BODY).status_code == 200
        for asset in re.findall(r'(?:src|href)="([^"]+)"', live.http.get("/search/ranker/docs").text):
            assert asset.startswith("/search/ranker/")
            assert live.http.get(asset).status_code == 200
        page = live.http.get("/search/ranker", follow_redirects=True)
        assert page.url.path == "/search/ranker/"
        for asset in re.findall(r'(?:src|href)="([^":]+)"', page.text):
            assert live.http.get(page.url.join(asset)).status_code == 200


@pytest.mark.parametrize("root", ["/ranker", "ranker/", "/v1"])
def test_behind_a_proxy_that_takes_a_path_off_every_route_is_there(serve, root):
    shown = "/" + root.strip("/")
    with serve(root_path=root, api_key=("k",)) as live:
        for path in ("/health", "/live", "/weaviate/.well-known/ready"):
            assert live.http.get(path).status_code in (200, 204), path
        assert live.http.get("/").status_code == 401
        live.http.headers["x-api-key"] = "k"
        assert live.http.get("/").status_code == 200
        assert "api_version" in live.post("/v2/rerank", BODY).json()["meta"]
        assert "document" in live.post("/api/rerank", BODY).json()["results"][0]
        assert live.post("/weaviate/rerank", BODY).json()["scores"]
        assert live.post("/v1/rerank", BODY).json()["object"] == "list"
        assert live.http.get("/openapi.json").json()["servers"] == [{"url": shown}]
        for asset in re.findall(r'(?:src|href)="([^"]+)"', live.http.get("/docs").text):
            assert asset.startswith(shown + "/")
            assert live.http.get(asset.removeprefix(shown)).status_code == 200


def test_a_refusal_before_the_body_is_read_is_in_the_shape_of_the_server_s_own_format(serve):
    with serve(dialect="tei", api_key=("k",), lazy=True) as live:
        keyless = live.post("/rerank", {})
        broken = live.http.post("/rerank", content=b"{", headers={"x-api-key": "k"})
        wrong = live.http.get("/rerank", headers={"x-api-key": "k"})
        assert [one.status_code for one in (keyless, broken, wrong)] == [401, 400, 405]
        for refused in (keyless, broken, wrong):
            assert isinstance(refused.json()["error"], str)
        assert live.http.get("/v1/models").json()["error"]["code"] == "AUTH_MISSING_API_KEY"


def test_a_refusal_at_the_door_is_in_the_shape_of_the_path(serve):
    with serve(api_key=("k",)) as live:
        assert live.post("/predict", {}).json()["error_type"] == "Validation"
        assert isinstance(live.post("/tei/rerank", {}).json()["error"], str)
        assert isinstance(live.post("/api/rerank", {}).json()["error"], str)
        assert live.post("/v2/rerank", {}).json()["id"]
        assert live.post("/v1/rerank", {}).json()["error"]["code"] == "AUTH_MISSING_API_KEY"
