"""Serving: one port that rerank clients of many kinds already speak to. Needs crossrank[serve].

options.py    every flag, environment variable and default, in one dataclass
models.py     names -> loaded models, each with its batcher
batcher.py    requests share batches: the law, the turn, the error that stays with its own
dialects/     a wire format each: body -> Ask, Answer -> body
answering.py  Ask -> Answer: admission, tokens in a thread, batches, ranking
door.py       ASGI: paths, request ids, body limits, keys, rate limits, log lines
app.py        routes
server.py     uvicorn, signals, drain
closing.py    the end of listening, without a reset
"""

from __future__ import annotations

from crossrank.errors import need

__all__: list[str] = []

need("fastapi", "prometheus_client", "uvicorn", extra="serve")
