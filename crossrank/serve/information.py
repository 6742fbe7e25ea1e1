"""Routes that tell: health, metrics, and the models, in the shapes that clients ask for before they rerank."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

import crossrank
from crossrank.serve.dialects import tei
from crossrank.serve.models import Served
from crossrank.serve.problems import Problem
from crossrank.serve.responses import problem_body, problem_headers, respond

if TYPE_CHECKING:
    from crossrank.serve.app import Service

__all__ = ["add"]

READY = ("/ready", "/health", "/healthz", "/ping", "/v1/health/ready")
READS = ["GET", "HEAD"]


def add(app: FastAPI, service: Service) -> None:
    """Add the routes."""
    for path in READY:
        _get(app, path, lambda _: _health(service, service.ready), "health")
    for path in ("/live", "/v1/health/live"):
        _get(app, path, lambda _: _health(service, service.models.alive), "health")
    _get(app, "/.well-known/ready", lambda _: Response(status_code=204 if service.ready else 503), "health")
    _get(app, "/.well-known/live", lambda _: Response(status_code=204 if service.models.alive else 503), "health")
    for path in ("/metrics", "/v1/metrics"):
        _get(app, path, lambda _: _metrics(service), "operations")
    for path in ("/v1/models", "/models"):
        _get(app, path, lambda _: respond(_models(service)), "models")
        _get(app, path + "/{name:path}", lambda request: _model(service, request), "models")
    _get(app, "/meta", lambda _: respond(_weaviate_meta(service)), "models")

    async def info(request: Request) -> Response:
        try:
            return respond(await _info(service))
        except Problem as problem:
            body = tei.problem(problem_body(problem, request.state.visit.id))
            return respond(body, problem.status, problem_headers(problem))

    app.add_api_route("/info", info, methods=READS, tags=["models"], include_in_schema=False)
    _get(app, "/v1/cluster/auth", lambda _: respond({"auth": service.keys.required}), "models")


def _get(app: FastAPI, path: str, answer: Any, tag: str) -> None:
    async def endpoint(request: Request) -> Response:
        response: Response = answer(request)
        return response

    app.add_api_route(path, endpoint, methods=READS, tags=[tag], include_in_schema=False)


def _health(service: Service, good: bool) -> Response:
    state = "ok" if good else "draining" if service.state.draining else "unavailable"
    return respond({"status": state, "unix": time.time()}, 200 if good else 503)


def _metrics(service: Service) -> Response:
    service.metrics.ready.set(service.ready)
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _models(service: Service) -> dict[str, Any]:
    return {"object": "list", "data": [_described(served) for served in service.models.served.values()]}


def _model(service: Service, request: Request) -> Response:
    try:
        return respond(_described(service.models.pick(request.path_params["name"])))
    except Problem as problem:
        return respond(problem_body(problem, request.state.visit.id), 404)


def _described(served: Served) -> dict[str, Any]:
    """OpenAI's fields, those of Jina's that mean something here, Xinference's `model_type`; and dtype and device."""
    loaded = served.loaded
    length = loaded.reranker.limits.max_length if loaded else None
    return {
        "id": served.name,
        "object": "model",
        "created": served.created,
        "owned_by": "crossrank",
        "name": served.name,
        "input_modalities": ["text"],
        "output_modalities": ["score"],
        "context_length": length,
        "max_model_len": length,
        "max_output_length": 0,
        "model_type": "rerank",
        "model_name": served.name,
        "loaded": loaded is not None,
        "dtype": loaded.reranker.dtype if loaded else served.source.dtype,
        "device": loaded.reranker.device if loaded else served.source.device,
    }


async def _info(service: Service) -> dict[str, Any]:
    """TEI's /info, which Dify's plug-in reads first, and as numbers: so it loads a model that is not loaded yet."""
    served = service.models.pick(None)
    reranker = (await service.answering.loaded(served)).reranker
    return {
        "model_id": served.name,
        "model_sha": None,
        "model_dtype": reranker.dtype,
        "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
        "max_concurrent_requests": service.options.max_concurrent_requests,
        "max_input_length": reranker.limits.max_length,
        "max_batch_tokens": reranker.scorer.budget,
        "max_batch_requests": None,
        "max_client_batch_size": service.options.max_documents,
        "auto_truncate": True,
        "tokenization_workers": 2,
        "version": crossrank.__version__,
        "sha": None,
        "docker_label": None,
    }


def _weaviate_meta(service: Service) -> dict[str, Any]:
    served = service.models.pick(None)
    return {"model": served.name, "model_type": "rerank", "version": crossrank.__version__}
