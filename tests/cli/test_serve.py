"""Every option of a server is a flag and a variable; what the flags do is tested in tests/serve."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields

from crossrank.serve.options import ServeOptions

HELP = "import sys; sys.argv = ['crossrank', 'serve', '--help']\nfrom crossrank.cli import main\n"
HEAVY = "print([name for name in ('fastapi', 'numpy', 'torch', 'uvicorn') if name in sys.modules], file=sys.stderr)"


def test_help_names_every_option_and_imports_nothing_heavy():
    code = f"{HELP}try:\n    main()\nexcept SystemExit:\n    pass\n{HEAVY}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    shown = "".join(done.stdout.split())
    for field in fields(ServeOptions):
        assert "--" + field.name.replace("_", "-") in shown
        assert f"CROSSRANK_{field.name.upper()}" in shown
