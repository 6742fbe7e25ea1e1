"""The routes. A rerank route reads a body, lets its dialect make an Ask of it, and writes the Answer back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

import crossrank
from crossrank.errors import InputError
from crossrank.serve import information
from crossrank.serve.answering import Answering
from crossrank.serve.asking import Answer, Ask, Defaults
from crossrank.serve.auth import Keys, Rates
from crossrank.serve.body import Body, parse
from crossrank.serve.dialects import DIALECTS, SHARED, choose
from crossrank.serve.door import Door, State, Visit
from crossrank.serve.metrics import Metrics
from crossrank.serve.models import Models
from crossrank.serve.options import ServeOptions
from crossrank.serve.pages import add_pages
from crossrank.serve.problems import KINDS, Problem
from crossrank.serve.responses import problem_body, problem_headers, respond
from crossrank.serve.tracing import Tracing

__all__ = ["Service", "build"]

GONE = 499  # what a log shows for a client that did not wait; nobody receives it
CODES = {404: "path", 405: "method"}
RATE_HEADERS = [f"X-RateLimit-{what}-{of}" for what in ("Limit", "Remaining") for of in ("Requests", "Tokens")]
# The formats that the description shows for shared paths.
SHARING = ("jina", "tei", "cohere", "voyage", "mixedbread")

log = logging.getLogger("crossrank.serve")


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """The parts of one server."""

    options: ServeOptions
    models: Models
    metrics: Metrics
    keys: Keys
    answering: Answering
    state: State
    tracing: Tracing | None

    @classmethod
    def of(cls, options: ServeOptions) -> Service:
        """The parts that these options ask for; no model is loaded yet, but each is found."""
        if options.dialect not in DIALECTS:
            raise InputError(f"dialect {options.dialect!r} is not one of {', '.join(DIALECTS)}")
        metrics = Metrics()
        models = Models(options, metrics)
        models.check()
        return cls(
            options=options,
            models=models,
            metrics=metrics,
            keys=Keys(options.api_key, options.api_key_file),
            answering=Answering(models, options),
            state=State(),
            tracing=Tracing(options.otlp_endpoint) if options.otlp_endpoint else None,
        )

    @property
    def ready(self) -> bool:
        """Whether a request that comes now would be answered."""
        return self.models.ready and not self.state.draining


def build(service: Service, failed: Callable[[Exception], None] | None = None) -> FastAPI:
    """The ASGI application. `failed` is called with the error of a model that could not be loaded at the start."""
    options = service.options

    async def load() -> None:
        try:
            await service.models.load_all()
        except Exception as error:
            log.error("a model could not be loaded: %s", error, extra={"event": "load_failed"})
            if failed:
                failed(error)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loading = None if options.lazy else asyncio.create_task(load())
        yield
        if loading:
            loading.cancel()
        await service.models.close()
        service.answering.close()
        if service.tracing:
            await asyncio.to_thread(service.tracing.close)

    app = FastAPI(
        title="crossrank",
        version=crossrank.__version__,
        description="Rerank documents. One port, many dialects.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    shared = [DIALECTS[name] for name in SHARING]
    for path in SHARED:
        _add(app, path, service, "by body: " + ", ".join(SHARING), shared)
    for name, dialect in DIALECTS.items():
        for path in dialect.PATHS:
            _add(app, path, service, name, [dialect])
    information.add(app, service)
    add_pages(app, options)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        problem = Problem(CODES.get(error.status_code, "validation"), f"{request.state.visit.path}: {error.detail}")
        problem.status = error.status_code
        return _refusal(service, request.state.visit, problem, _shape(request.state.visit), dict(error.headers or {}))

    rates = Rates(options.requests_per_minute, options.tokens_per_minute)
    app.add_middleware(Door, options, service.keys, rates, service.metrics, service.state)
    if options.cors_origin:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(options.cors_origin),
            allow_methods=["GET", "POST", "HEAD", "OPTIONS"],
            allow_headers=["*"],
            expose_headers=["X-Request-ID", "Retry-After", "Server-Timing", "X-Total-Time", *RATE_HEADERS],
        )
    return app


def _add(app: FastAPI, path: str, service: Service, name: str, dialects: list[ModuleType]) -> None:
    async def endpoint(request: Request) -> Response:
        with service.tracing.span(request.state.visit, request.headers) if service.tracing else nullcontext():
            return await _answer(service, request)

    requests = [dialect.REQUEST for dialect in dialects]
    responses = [dialect.RESPONSE for dialect in dialects]
    codes = sorted({status for status, _ in KINDS.values()} | {s for d in dialects for s in d.STATUS.values()})
    app.add_api_route(
        path,
        endpoint,
        methods=["POST"],
        tags=[name],
        summary=(dialects[0].__doc__ or "").splitlines()[0],
        operation_id=f"rerank{path.replace('/', '_')}",
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _any(requests)}}}},
        responses={
            200: {"description": "Ranked", "content": {"application/json": {"schema": _any(responses)}}},
            **{code: {"description": "An error, in words", "content": _ERROR} for code in codes},
        },
    )


_ERROR = {
    "application/json": {
        "schema": {
            "type": "object",
            "required": ["detail", "code", "request_id", "message", "error"],
            "properties": {"detail": {"type": "string"}, "code": {"type": "string"}, "message": {"type": "string"}},
        }
    }
}


def _any(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


async def _answer(service: Service, request: Request) -> Response:
    """One rerank request, from bytes to bytes. Every way out is a response."""
    visit: Visit = request.state.visit
    dialect: ModuleType | None = DIALECTS.get(visit.dialect) if visit.dialect else None
    name, model = visit.dialect or "unknown", "none"
    try:
        async with asyncio.timeout(service.options.body_timeout):
            raw = await request.body()
        encoding = request.headers.get("content-encoding", "").lower()
        if encoding not in ("", "identity"):
            raise Problem("encoding", f"Content-Encoding {encoding[:40]!r} is not read here; send the body as it is")
        values = parse(raw)
        dialect = dialect or choose(values, service.options.dialect)
        name = dialect.__name__.rpartition(".")[2]
        visit.notes["dialect"] = name
        ask = _read(dialect, values, service.options)
        visit.notes["documents"] = ask.count
        model = service.models.pick(ask.model).name
        visit.notes["model"] = model
        answer = await _unless_gone(service, request, ask, visit)
        if answer is None:
            service.metrics.cancelled.inc()
            return Response(status_code=GONE)
        service.metrics.requests.labels(name, model, "200").inc()
        service.metrics.answered(answer)
        visit.notes["tokens"] = answer.tokens
        return respond(dialect.write(answer), headers=_timing_headers(answer))
    except Problem as error:
        problem = error
    except TimeoutError:
        problem = Problem("slow_body", f"the body did not arrive within {service.options.body_timeout:g} seconds")
    except ClientDisconnect:
        return Response(status_code=GONE)
    except InputError as error:
        problem = Problem("validation", str(error))
    except RecursionError:  # whichever way it went: a body that is read may be too deep to be written
        problem = Problem("json", "the body is nested too deeply")
    except Exception:
        log.exception("a request failed", extra={"event": "request_failed", "request_id": visit.id})
        problem = Problem("internal", "an error of the server's own; its log has it under this request_id")
    dialect = dialect or _shape(visit)
    status = (dialect.STATUS if dialect else {}).get(problem.kind, problem.status)
    problem.status = status
    service.metrics.requests.labels(name, model, str(status)).inc()
    return _refusal(service, visit, problem, dialect, {})


def _read(dialect: ModuleType, values: dict[str, Any], options: ServeOptions) -> Ask:
    body = Body(values, options.max_documents)
    ask: Ask = dialect.read(body, Defaults(return_documents=options.return_documents))
    if options.strict:
        body.strictly()
    return ask


def _shape(visit: Visit) -> ModuleType | None:
    return DIALECTS[visit.shape] if visit.shape else None


def _refusal(
    service: Service, visit: Visit, problem: Problem, dialect: ModuleType | None, headers: dict[str, str]
) -> Response:
    visit.problem = problem.code
    service.metrics.rejected.labels(problem.kind).inc()
    body = problem_body(problem, visit.id)
    body = dialect.problem(body) if dialect else body
    return respond(body, problem.status, {**headers, **problem_headers(problem)})


async def _unless_gone(service: Service, request: Request, ask: Ask, visit: Visit) -> Answer | None:
    """The answer; None, and nothing left in the queue, once the client has gone."""
    patience = _patience(request, service.options.deadline)

    def counted(tokens: int) -> None:
        if visit.allowance:
            visit.allowance.charge(tokens)

    answer = service.answering.answer(ask, id=visit.id, arrived=visit.start, patience=patience, charge=counted)
    work = asyncio.create_task(answer)
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        work.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _patience(request: Request, most: float) -> float:
    """Seconds that the client gives this request: X-Request-Timeout, no more than the server's own."""
    given = request.headers.get("x-request-timeout")
    if given is None:
        return most
    try:
        seconds = float(given)
    except ValueError as error:
        raise Problem("validation", f"X-Request-Timeout should be seconds, not {given[:40]!r}") from error
    if not seconds > 0:
        raise Problem("validation", f"X-Request-Timeout should be more than 0 seconds, not {given[:40]!r}")
    return min(seconds, most)


def _timing_headers(answer: Answer) -> dict[str, str]:
    """TEI's headers, in whole milliseconds, and Server-Timing for browsers' tools."""
    timing = answer.timing
    ms = {
        "tokenization": 1000 * timing.tokenize,
        "queue": 1000 * timing.queue,
        "inference": 1000 * timing.compute,
        "total": 1000 * timing.total,
    }
    return {
        "x-compute-time": str(round(ms["inference"])),
        "x-compute-characters": str(answer.ask.characters()),
        "x-compute-tokens": str(answer.tokens),
        "x-total-time": str(round(ms["total"])),
        "x-tokenization-time": str(round(ms["tokenization"])),
        "x-queue-time": str(round(ms["queue"])),
        "x-inference-time": str(round(ms["inference"])),
        "Server-Timing": ", ".join(f"{stage};dur={duration:.1f}" for stage, duration in ms.items()),
    }
