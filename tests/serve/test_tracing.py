"""Spans as a collector on loopback receives them."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_request_is_a_span_in_its_callers_trace_without_text(serve):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    messages = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    received: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            received.append(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    collector = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=collector.serve_forever)
    thread.start()
    try:
        with serve(otlp_endpoint=f"http://127.0.0.1:{collector.server_port}") as live:
            body = {"query": "confidential", "documents": ["confidential"]}
            answer = live.http.post("/v1/rerank", json=body, headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"})
            assert answer.status_code == 200
            live.post("/v1/rerank", {})
    finally:
        collector.shutdown()
        thread.join()
        collector.server_close()
    read = [messages.ExportTraceServiceRequest.FromString(raw) for raw in received]
    spans = [span for one in read for r in one.resource_spans for scope in r.scope_spans for span in scope.spans]
    assert [span.name for span in spans] == ["rerank", "rerank"]
    assert spans[0].trace_id.hex() == TRACE
    told = {item.key: item.value.int_value or item.value.string_value for item in spans[0].attributes}
    assert told["crossrank.documents"] == 1
    assert told["crossrank.model"] == "tiny"
    assert {item.key: item.value.string_value for item in spans[1].attributes}["crossrank.code"] == "VALIDATION_ERROR"
    assert not any(b"confidential" in raw for raw in received)
