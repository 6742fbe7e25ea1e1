"""What leaves the server: JSON that is always JSON, and the one error body that every client can read."""

from __future__ import annotations

import json
import math
from typing import Any

from starlette.responses import Response

from crossrank.serve.problems import Problem

__all__ = ["as_json", "problem_body", "problem_headers", "respond"]


def as_json(content: Any) -> bytes:
    """UTF-8 JSON. A lone surrogate that a client sent goes back as it came, escaped; NaN is an error, never written."""
    try:
        return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()


def respond(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response. Compressing is a proxy's business: several clients ask for none."""
    return Response(as_json(content), status_code=status, headers=headers, media_type="application/json")


def problem_body(problem: Problem, request_id: str) -> dict[str, Any]:
    """`detail` for Jina's clients, `message` for Cohere's, `error` for OpenAI's: all say the same."""
    message = str(problem)
    body: dict[str, Any] = {
        "detail": message,
        "code": problem.code,
        "request_id": request_id,
        "message": message,
        "error": {"message": message, "type": problem.kind, "param": None, "code": problem.code},
    }
    if problem.errors:
        body["errors"] = list(problem.errors)
        body["error"]["param"] = problem.errors[0]["field"]
    return body


def problem_headers(problem: Problem) -> dict[str, str]:
    """Retry-After in whole seconds, as the standard has it, and the challenge of a 401."""
    headers = {}
    if problem.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(problem.retry_after)))
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="crossrank"'
    return headers
