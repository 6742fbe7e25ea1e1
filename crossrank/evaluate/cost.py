"""What scoring costs in memory."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["forget_peak", "peak_memory"]

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def forget_peak() -> None:
    """Let the next peak_memory() tell of what comes after this call, where the system can forget (Linux)."""
    try:
        CLEAR.write_text("5")
    except OSError:
        return  # then the peak is that of the whole process, which is still an upper bound


def peak_memory() -> int | None:
    """The largest resident size of this process, in bytes, the Python libraries and all; None where nobody tells."""
    try:
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return None
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024
