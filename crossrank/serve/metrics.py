"""What an operator can watch, in Prometheus' format. One registry a server, so that two in a process do not mix."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from crossrank.serve.asking import Answer
from crossrank.serve.batcher import Batch, Batcher

__all__ = ["Metrics"]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
FILL = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
DOCUMENTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


class Metrics:
    """Counters and histograms under crossrank_*; labels are few and come from us, never from a request's text."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "crossrank_requests", "Answered requests.", ["dialect", "model", "status"], registry=registry
        )
        self.seconds = Histogram(
            "crossrank_request_seconds",
            "Seconds of answered rerank requests, by stage.",
            ["model", "stage"],
            buckets=SECONDS,
            registry=registry,
        )
        self.documents = Histogram(
            "crossrank_request_documents", "Documents a request.", ["model"], buckets=DOCUMENTS, registry=registry
        )
        self.tokens = Counter("crossrank_tokens", "Tokens scored for answers.", ["model"], registry=registry)
        self.rejected = Counter("crossrank_rejected", "Requests refused, by kind.", ["kind"], registry=registry)
        self.cancelled = Counter("crossrank_cancelled", "Requests whose client went away.", registry=registry)
        self.batches = Counter("crossrank_batches", "Batches run.", ["model"], registry=registry)
        self.batch_tokens = Counter("crossrank_batch_tokens", "Tokens in batches.", ["model"], registry=registry)
        self.batch_fill = Histogram(
            "crossrank_batch_fill", "Tokens of a batch, of its budget.", ["model"], buckets=FILL, registry=registry
        )
        self.batch_jobs = Histogram(
            "crossrank_batch_requests", "Requests in a batch.", ["model"], buckets=DOCUMENTS[:8], registry=registry
        )
        self.batch_seconds = Histogram(
            "crossrank_batch_seconds", "Seconds a batch.", ["model"], buckets=SECONDS, registry=registry
        )
        self.queue_tokens = Gauge("crossrank_queue_tokens", "Tokens waiting or running.", ["model"], registry=registry)
        self.queue_requests = Gauge(
            "crossrank_queue_requests", "Requests waiting or running.", ["model"], registry=registry
        )
        self.ready = Gauge("crossrank_ready", "1 while requests can be answered.", registry=registry)

    def watch(self, model: str, batcher: Batcher) -> None:
        """Read a queue's depth whenever the metrics are read."""
        self.queue_tokens.labels(model).set_function(lambda: batcher.tokens)
        self.queue_requests.labels(model).set_function(lambda: len(batcher.jobs))

    def counter(self, model: str, budget: int) -> Callable[[Batch], None]:
        """What a batcher calls after each batch."""

        def seen(batch: Batch) -> None:
            self.batches.labels(model).inc()
            self.batch_tokens.labels(model).inc(batch.tokens)
            self.batch_fill.labels(model).observe(batch.tokens / budget)
            self.batch_jobs.labels(model).observe(batch.jobs)
            self.batch_seconds.labels(model).observe(batch.seconds)

        return seen

    def answered(self, answer: Answer) -> None:
        """Count an answer and its stages."""
        timing = answer.timing
        stages = {
            "tokenize": timing.tokenize,
            "queue": timing.queue,
            "compute": timing.compute,
            "total": timing.total,
        }
        for stage, seconds in stages.items():
            self.seconds.labels(answer.model, stage).observe(seconds)
        self.documents.labels(answer.model).observe(answer.ask.count)
        self.tokens.labels(answer.model).inc(answer.tokens)

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self.registry)
