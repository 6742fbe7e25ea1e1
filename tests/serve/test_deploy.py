"""The files under deploy/ speak of flags, paths and metrics that exist. Building and starting them is not done here."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from crossrank.serve.options import ServeOptions

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
OPTIONS = {field.name for field in fields(ServeOptions)}
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())


def test_the_dashboard_asks_for_metrics_that_the_server_has(live):
    live.post("/v1/rerank", {"query": "q", "documents": ["d"]})
    live.post("/v1/rerank", {})
    known = set(re.findall(r"^(crossrank_\w+)", live.http.get("/metrics").text, re.MULTILINE))
    panels = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())["panels"]
    asked = {name for p in panels for t in p["targets"] for name in re.findall(r"crossrank_\w+", t["expr"])}
    assert len(asked) > 8
    assert asked <= known


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_flags_and_variables_are_options(path):
    text = path.read_text()
    flags = set(re.findall(r'"--([a-z-]+)"', text)) if path.name == "kubernetes.yaml" else set()
    variables = set(re.findall(r"\bCROSSRANK_([A-Z_]+)=", text))
    assert {flag.replace("-", "_") for flag in flags} | {name.lower() for name in variables} <= OPTIONS


def test_probes_ask_paths_that_need_no_key(live):
    text = "".join(path.read_text() for path in FILES)
    paths = set(re.findall(r"httpGet: \{path: (/\w+)", text)) | set(re.findall(r"127\.0\.0\.1:8000(/\w+)", text))
    assert paths == {"/ready", "/live"}
    assert all(live.http.get(path).status_code == 200 for path in paths)


def test_the_manifests_are_yaml():
    yaml = pytest.importorskip("yaml")
    kinds = [one["kind"] for one in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())]
    assert kinds == ["Deployment", "Service", "PodDisruptionBudget"]
    for name in ("compose.yaml", "prometheus.yml", "grafana/datasource.yml", "grafana/provider.yml"):
        assert yaml.safe_load((DEPLOY / name).read_text())
