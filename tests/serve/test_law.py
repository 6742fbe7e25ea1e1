"""The law: under load, cancellations and failures, an answer has exactly the scores that its request gets alone."""

from __future__ import annotations

import asyncio
import random

import httpx
import pytest

from crossrank.batch import Filled
from crossrank.inputs import Text

WORDS = "river bank fox snow mountain train night coffee red green seven a the of and by on in with for".split()
POISON = 97  # a request with a sequence of this many tokens is one on which the model fails
CLIENTS = 16


def text(chance: random.Random, most: int) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randrange(0, most)))


def request(chance: random.Random) -> dict:
    count = chance.choice((1, 1, 2, 5, 5, 20, 120))
    return {"query": text(chance, 12), "documents": [text(chance, chance.choice((5, 40, 300))) for _ in range(count)]}


async def visit(http: httpx.AsyncClient, seed: int) -> tuple[str, dict | None, dict]:
    """One request, sent, left or given a short deadline; what became of it, and the scores by index."""
    chance = random.Random(seed)
    body = request(chance)
    kind = chance.choices(("stays", "leaves", "hurries"), (8, 1, 1))[0]
    headers = {"x-request-timeout": "0.05"} if kind == "hurries" else {}
    try:
        limit = chance.random() / 5 if kind == "leaves" else 60
        response = await asyncio.wait_for(http.post("/v1/rerank", json=body, headers=headers), limit)
    except TimeoutError:
        return "left", None, body
    if response.status_code == 200:
        results = response.json()["results"]
        return "answered", {hit["index"]: hit["relevance_score"] for hit in results}, body
    assert response.json()["detail"]
    await asyncio.sleep(0.3)
    return str(response.status_code), None, body


async def load(url: str, requests: int) -> list[tuple[str, dict | None, dict]]:
    seeds = iter(range(requests))

    async def client() -> list:
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as http:
            return [await visit(http, seed) for seed in seeds]

    return [one for many in await asyncio.gather(*(client() for _ in range(CLIENTS))) for one in many]


@pytest.mark.parametrize("requests", [50, pytest.param(500, marks=pytest.mark.slow)])
def test_every_answer_is_the_one_the_request_gets_alone(serve, reranker, requests):
    with serve(max_concurrent_requests=13, budget=512) as live:
        batcher = live.service.models.served["tiny"].loaded.batcher
        good = batcher.score

        def fragile(sequences: list[Filled]) -> list[float]:
            if any(len(one) == POISON for one in sequences):
                raise RuntimeError("poison")
            return good(sequences)

        batcher.score = fragile
        outcomes = asyncio.run(load(live.url, requests))
        assert (batcher.tokens, batcher.jobs) == (0, [])
        assert live.http.get("/ready").status_code == 200
    told = [kind for kind, _, _ in outcomes]
    assert len(told) == requests
    assert set(told) <= {"answered", "left", "413", "429", "500", "504"}
    assert told.count("answered") > requests / 4
    for kind, scores, body in outcomes:
        alone = reranker.rank(body["query"], body["documents"])
        poisoned = POISON in (len(s) for s in sequences(reranker, body))
        if kind == "answered":
            assert not poisoned
            assert scores == pytest.approx({hit.index: hit.score for hit in alone}, abs=1e-5)
        assert kind != "500" or poisoned


def sequences(reranker, body: dict) -> list[Filled]:
    return reranker.prepare(Text(body["query"]), [Text(document) for document in body["documents"]]).sequences
