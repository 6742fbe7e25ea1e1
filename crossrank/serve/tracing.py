"""OpenTelemetry traces: a span a request, a child of its caller's. Needs crossrank[otel]."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec

from crossrank.errors import MissingExtra
from crossrank.serve.door import Visit

__all__ = ["Tracing"]

# What of a request's notes a span carries: counts and names, never text.
NOTES = ("dialect", "model", "documents", "tokens")


class Tracing:
    """Sends a span for each request to a collector, in the background, and to nobody else."""

    def __init__(self, endpoint: str) -> None:
        if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
            raise MissingExtra("--otlp-endpoint needs OpenTelemetry: pip install 'crossrank[otel]'")
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        url = endpoint if endpoint.endswith("/v1/traces") else endpoint.rstrip("/") + "/v1/traces"
        self.provider = TracerProvider(resource=Resource.create({"service.name": "crossrank"}))
        self.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
        self.tracer = self.provider.get_tracer("crossrank.serve")

    @contextmanager
    def span(self, visit: Visit, headers: Mapping[str, str]) -> Iterator[None]:
        """A span round one request, in the trace that its `traceparent` header names; the visit's notes at its end."""
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        context = TraceContextTextMapPropagator().extract(dict(headers))
        with self.tracer.start_as_current_span("rerank", context=context, kind=SpanKind.SERVER) as span:
            span.set_attribute("crossrank.request_id", visit.id)
            try:
                yield
            finally:
                for name in NOTES:
                    if name in visit.notes:
                        span.set_attribute(f"crossrank.{name}", visit.notes[name])
                if visit.problem:
                    span.set_attribute("crossrank.code", visit.problem)

    def close(self) -> None:
        """Send what is left."""
        self.provider.shutdown()
