"""schemathesis makes requests from our own description and a few besides; what comes back is what it describes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_what_schemathesis_sends_is_answered_as_described(live):
    """`make test-server` installs it. Refusing wrong types is not asked of a server that reads leniently."""
    beside = Path(sys.executable).with_name("schemathesis")
    command = str(beside) if beside.exists() else shutil.which("schemathesis")
    if command is None:
        pytest.skip("schemathesis is not installed")
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    flags = ["--checks", checks, "--max-examples", "20", "--mode", "all", "--seed", "1", "--workers", "1"]
    done = subprocess.run(
        [command, "run", f"{live.url}/openapi.json", *flags], capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
