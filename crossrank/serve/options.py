"""Everything that can be set, once: a field is a flag (--max-body-bytes) and a variable (CROSSRANK_MAX_BODY_BYTES)."""

from __future__ import annotations

import math
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import parse_qsl

from crossrank.errors import InputError
from crossrank.windows import Limits

__all__ = ["ServeOptions", "Source", "described", "read_source"]


LEVELS = ("debug", "info", "warning", "error")


def option(default: Any, help: str) -> Any:
    """A field with its line of help."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, slots=True)
class Source:
    """A model to serve. folder: what Reranker.load takes; None is the model that ships with the package."""

    name: str
    folder: str | None
    dtype: str | None
    device: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What a server is. None means no limit, or the default of the model or device."""

    model: tuple[str, ...] = option((), "MODEL, NAME=MODEL or NAME=MODEL?dtype=int8&device=cpu; repeat for several.")
    lazy: bool = option(False, "Load a model at its first request, not at the start.")
    any_model: bool = option(True, "One model answers to any name, for clients that cannot change it.")
    dtype: str | None = option(None, "float32, bfloat16, float16 or, on a CPU, int8.")
    device: str | None = option(None, "cpu, cuda or cuda:N; default: a GPU if there is one.")
    max_length: int | None = option(None, "Tokens of a pair; default: the model's own limit.")
    max_query: int | None = option(None, "Tokens of a query; default: 512, at most half a pair.")
    overlap: int = option(80, "Tokens that windows of a long document share.")
    budget: int | None = option(None, "Tokens computed at a time: what bounds memory.")

    host: str = option("127.0.0.1", "Address to listen on; 0.0.0.0 is every one.")
    port: int = option(8000, "Port to listen on.")
    uds: str | None = option(None, "Listen on this unix socket instead.")
    ssl_certfile: str | None = option(None, "Certificate chain, PEM; with --ssl-keyfile, TLS.")
    ssl_keyfile: str | None = option(None, "Private key, PEM.")
    url_prefix: str = option("", "Answer below this path too, such as /rerank-service.")
    root_path: str = option("", "The path at which a proxy shows this server.")
    max_connections: int = option(2048, "Connections and requests at once; more get a 503.")
    keep_alive: float = option(65.0, "Seconds that an idle connection stays open.")
    header_timeout: float = option(20.0, "Seconds in which a new connection must send its first request's headers.")
    body_timeout: float = option(30.0, "Seconds in which a body must arrive.")

    deadline: float = option(30.0, "Seconds to an answer or a 504; X-Request-Timeout may ask for less.")
    max_concurrent_requests: int = option(512, "Requests waiting or running, per model; more get a 429.")
    max_queue_tokens: int = option(4_000_000, "Tokens waiting, per model; more get a 429.")
    max_documents: int = option(10_000, "Documents in one request; more get a 413.")
    max_text_characters: int = option(1_000_000, "Characters of a query or a document; more get a 413.")
    max_body_bytes: int = option(32 << 20, "Bytes of a body; more get a 413.")

    api_key: tuple[str, ...] = option((), "A key that is let in; repeat for several. Without any, everyone is.")
    api_key_file: str | None = option(None, "A file of keys, one a line; read again when it changes.")
    requests_per_minute: int | None = option(None, "Per key, or per address where there are no keys.")
    tokens_per_minute: int | None = option(None, "Per key, or per address where there are no keys.")
    cors_origin: tuple[str, ...] = option((), "An origin whose pages may call; repeat for several; * is any.")

    dialect: str = option("jina", "The format on /rerank and /v1/rerank where neither prefix nor keys settle it.")
    return_documents: bool = option(True, "Send documents back on Jina's route unless a request says otherwise.")
    strict: bool = option(False, "Refuse unknown fields instead of ignoring them.")
    playground: bool = option(True, "The page at / and the API's description at /docs.")

    drain_delay: float = option(0.0, "Seconds between SIGTERM, when /ready falls, and the end of listening.")
    drain_timeout: float = option(30.0, "Seconds that requests in flight get to finish after that.")
    log_level: str = option("info", "debug, info, warning or error.")
    otlp_endpoint: str | None = option(None, "Send traces to this OpenTelemetry collector: OTLP over HTTP.")
    access_log: bool = option(True, "One line of JSON a request on standard error; never its text.")

    def __post_init__(self) -> None:
        counts = ("connections", "concurrent_requests", "queue_tokens", "documents", "text_characters", "body_bytes")
        for name in counts:
            if getattr(self, f"max_{name}") < 1:
                raise InputError(f"max_{name} should be 1 or more, not {getattr(self, f'max_{name}')}")
        for name in ("requests_per_minute", "tokens_per_minute"):
            if (limit := getattr(self, name)) is not None and limit < 1:
                raise InputError(f"{name} should be 1 or more, not {limit}")
        for name in ("deadline", "body_timeout", "header_timeout"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} should be more than 0 seconds, not {getattr(self, name)}")
        for name in ("keep_alive", "drain_delay", "drain_timeout"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} should be 0 seconds or more, not {getattr(self, name)}")
        if not 0 <= self.port < 1 << 16:
            raise InputError(f"port should be from 0 to 65535, not {self.port}")
        if any(not key.strip() for key in self.api_key):
            raise InputError("api_key is empty; leave it away to let everyone in")
        if self.api_key_file is not None and not self.api_key_file.strip():
            raise InputError("api_key_file is empty; leave it away to let everyone in")
        if self.log_level not in LEVELS:
            raise InputError(f"log_level should be one of {', '.join(LEVELS)}, not {self.log_level!r}")
        if bool(self.ssl_certfile) != bool(self.ssl_keyfile):
            raise InputError("TLS needs both --ssl-certfile and --ssl-keyfile")
        for file in (self.ssl_certfile, self.ssl_keyfile):
            if file and not Path(file).is_file():
                raise InputError(f"{file}: there is no such file")
        names = [source.name for source in self.sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"two models are named {twice[0]!r}; give one another name: --model NAME=MODEL")
        _ = self.limits

    @property
    def sources(self) -> list[Source]:
        """The models to serve: the one that ships with the package where none is named."""
        if not self.model:
            return [Source(name="mini-en", folder=None, dtype=self.dtype, device=self.device)]
        return [read_source(text, self.dtype, self.device) for text in self.model]

    @property
    def limits(self) -> Limits:
        """How much the models read at once."""
        return Limits(max_length=self.max_length, max_query=self.max_query, overlap=self.overlap, budget=self.budget)


def read_source(text: str, dtype: str | None = None, device: str | None = None) -> Source:
    """Read MODEL, NAME=MODEL or either with ?dtype=...&device=... behind it. A folder's own name may have a = in it."""
    place, _, settings = text.partition("?")
    name, equals, folder = place.partition("=")
    if not equals or Path(place).expanduser().is_dir():
        name, folder = "", place
    given = dict(parse_qsl(settings))
    unknown = sorted(set(given) - {"dtype", "device"})
    if unknown or not folder:
        raise InputError(f"--model {text!r}: expected NAME=MODEL, and after a ? only dtype and device")
    # A hub name is a name already; a folder is called by its last part.
    local = Path(folder).expanduser().is_dir()
    return Source(
        name=name or (Path(folder).expanduser().resolve().name if local else folder),
        folder=folder,
        dtype=given.get("dtype", dtype),
        device=given.get("device", device),
    )


def described() -> list[tuple[Field[Any], Any]]:
    """Each field with its type, for a command line to be made from."""
    types = get_type_hints(ServeOptions)
    return [(one, types[one.name]) for one in fields(ServeOptions)]
