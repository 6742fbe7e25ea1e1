"""What every request passes before a route sees it: path, request id, key, rate, body limit; and the log line after."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crossrank.serve.auth import Allowance, Keys, Rates
from crossrank.serve.dialects import DIALECTS, OWN, SHARED
from crossrank.serve.metrics import Metrics
from crossrank.serve.options import ServeOptions
from crossrank.serve.problems import Problem
from crossrank.serve.responses import problem_body, problem_headers, respond

__all__ = ["Door", "State", "Visit", "tidy"]

# Open to everyone: what an orchestrator asks before it knows a key, and Xinference's question whether there are any.
OPEN = frozenset(
    ["/health", "/healthz", "/live", "/ready", "/ping", "/v1/health/live", "/v1/health/ready"]
    + ["/.well-known/live", "/.well-known/ready", "/v1/cluster/auth"]
)
PAGES = frozenset(["/", "/docs", "/metrics"])
REQUEST_ID = re.compile(r"[\w.:/+=@-]{1,128}")
# A body over the limit is read and thrown away up to so many times the limit, so that its sender sees the 413.
DISCARD = 4

log = logging.getLogger("crossrank.serve.access")


@dataclass(slots=True)
class State:
    """What changes while a server runs. draining: SIGTERM has come."""

    draining: bool = False


@dataclass(slots=True)
class Visit:
    """One request's notes, for the route to add to and the log line to read. Never any text of the request.

    path: as `tidy` makes it. dialect: the one that the path names, None where the body decides. shape: the dialect of
    an error where the body has not been read.
    """

    id: str
    path: str
    dialect: str | None
    shape: str | None
    start: float
    caller: str | None = None
    allowance: Allowance | None = None
    status: int = 0
    problem: str | None = None
    notes: dict[str, Any] = field(default_factory=dict)


class Door:
    """ASGI middleware, outermost but for CORS."""

    def __init__(
        self, app: ASGIApp, options: ServeOptions, keys: Keys, rates: Rates, metrics: Metrics, state: State
    ) -> None:
        self.app = app
        self.options = options
        self.keys = keys
        self.rates = rates
        self.metrics = metrics
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on; a websocket is refused by closing it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        headers = Headers(scope=scope)
        root = scope.get("root_path", "")
        path, dialect = tidy(scope["path"].removeprefix(root), self.options.url_prefix)
        bare = "/" + self.options.url_prefix.strip("/")
        if bare != "/" and scope["path"].removeprefix(root) == bare and scope["method"] in ("GET", "HEAD"):
            # The page's links are relative, so that it works below any path; they need the slash.
            await RedirectResponse(bare.rpartition("/")[2] + "/")(scope, receive, send)
            return
        dialect = OWN.get(path, dialect)
        shape = dialect or (self.options.dialect if path in SHARED else None)
        visit = Visit(id=_request_id(headers), path=path, dialect=dialect, shape=shape, start=time.monotonic())
        scope = {**scope, "path": root + path, "raw_path": (root + path).encode()}
        scope["state"] = {**scope.get("state", {}), "visit": visit}

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                self._stamp(MutableHeaders(scope=message), visit)
            await send(message)

        limited = Limited(receive, self.options.max_body_bytes)
        try:
            self._let_in(scope, headers, visit)
            async with asyncio.timeout(self.options.body_timeout):
                await limited.refuse_early(headers)
        except Problem as problem:
            await self._refusal(problem, visit)(scope, receive, telling)
        except TimeoutError:
            late = Problem("slow_body", f"the body did not arrive within {self.options.body_timeout:g} seconds")
            await self._refusal(late, visit)(scope, receive, telling)
        else:
            await self.app(scope, limited, telling)
        finally:
            self._log(scope, visit)

    def _refusal(self, problem: Problem, visit: Visit) -> Response:
        self.metrics.rejected.labels(problem.kind).inc()
        visit.problem = problem.code
        headers = problem_headers(problem)
        if problem.status == 401 and visit.path in PAGES:
            headers["WWW-Authenticate"] = 'Basic realm="crossrank", charset="UTF-8"'
        body = problem_body(problem, visit.id)
        return respond(DIALECTS[visit.shape].problem(body) if visit.shape else body, problem.status, headers)

    def _let_in(self, scope: Scope, headers: Headers, visit: Visit) -> None:
        # A preflight carries no key, whatever the page will send.
        if visit.path in OPEN or scope["method"] == "OPTIONS":
            return
        visit.caller = self.keys.check(headers)
        if scope["method"] == "POST":
            visit.allowance = self.rates.of(visit.caller or _address(scope, headers))
            visit.allowance.take()

    def _stamp(self, headers: MutableHeaders, visit: Visit) -> None:
        headers["X-Request-ID"] = visit.id
        headers["X-Content-Type-Options"] = "nosniff"
        if visit.allowance:
            headers.update(visit.allowance.headers())
        if self.state.draining:
            # So that a client's next request opens a connection to a server that stays.
            headers["Connection"] = "close"

    def _log(self, scope: Scope, visit: Visit) -> None:
        if not self.options.access_log or (visit.path in OPEN and visit.status < 400):
            return
        line = {
            "event": "request",
            "request_id": visit.id,
            "method": scope["method"],
            "path": visit.path[:200],
            "status": visit.status,
            "ms": round(1000 * (time.monotonic() - visit.start), 1),
            "caller": visit.caller,
            "code": visit.problem,
            **visit.notes,
        }
        log.info("request", extra={key: value for key, value in line.items() if value is not None})


class Limited:
    """A receive that counts the bytes of a body and stops at the limit."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self.receive = receive
        self.limit = limit
        self.size = 0

    async def __call__(self) -> Message:
        message = await self.receive()
        if message["type"] == "http.request":
            self.size += len(message.get("body", b""))
            if self.size > self.limit:
                await self._discard(message.get("more_body", False))
                raise self._problem()
        return message

    async def refuse_early(self, headers: Mapping[str, str]) -> None:
        """Refuse a body that says itself that it is too long."""
        length = headers.get("content-length", "0")
        # What is no number, or one of very many digits, is longer than any limit.
        size = int(length) if length.isdecimal() and len(length) < 20 else 1 << 64
        if size <= self.limit:
            return
        if size <= DISCARD * self.limit:
            await self._discard(True)
        raise self._problem()

    async def _discard(self, more: bool) -> None:
        while more and self.size <= DISCARD * self.limit:
            message = await self.receive()
            more = message["type"] == "http.request" and message.get("more_body", False)
            self.size += len(message.get("body", b""))

    def _problem(self) -> Problem:
        return Problem("large_body", f"the body has more than the {self.limit} bytes that this server takes")


def tidy(path: str, prefix: str = "") -> tuple[str, str | None]:
    """A path as the routes know it, and the dialect that it names.

    Doubled and trailing slashes go, a doubled /v1 too; the server's own prefix and a dialect's name in front are taken
    off: /v1/v1/rerank/ is /v1/rerank, and /weaviate/meta is /meta in Weaviate's dialect. OPEN paths stay as they are,
    whatever the prefix.
    """
    parts = [part for part in path.split("/") if part]
    own = [part for part in prefix.split("/") if part]
    if own and parts[: len(own)] == own and "/" + "/".join(parts) not in OPEN:
        parts = parts[len(own) :]
    dialect = None
    if parts and parts[0] in DIALECTS and (len(parts) > 1 or parts[0] not in ("score", "predict")):
        dialect = parts.pop(0)
    if parts[:2] in (["v1", "v1"], ["v2", "v2"]):
        parts.pop(0)
    return "/" + "/".join(parts), dialect


def _address(scope: Scope, headers: Headers) -> str:
    """Where a request comes from. Over TCP, uvicorn has put a caller's address in the place of a trusted proxy's."""
    if client := scope.get("client"):
        return str(client[0])
    # A unix socket. The last hop is the word of the proxy on it; those before are its client's to write.
    return ",".join(headers.getlist("x-forwarded-for")).rpartition(",")[2].strip() or "unix"


def _request_id(headers: Mapping[str, str]) -> str:
    given = headers.get("x-request-id", "")
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
