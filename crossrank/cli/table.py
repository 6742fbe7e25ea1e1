"""A ranking for people: a table with a bar a score."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from crossrank.ranking import Hit

__all__ = ["clean", "print_hits"]

BAR_CELLS = 10
SNIPPET_CHARACTERS = 400  # more than any terminal's line: the table cuts it to the width there is


def print_hits(hits: Sequence[Hit], texts: Sequence[str], probabilities: Sequence[float] | None = None) -> None:
    """Rank, index, score, bar and snippet of each hit; of a long document, where its best window begins.

    texts: those of all documents, in the caller's order. probabilities: one a hit, shown in place of its score.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    values = [hit.score for hit in hits] if probabilities is None else probabilities
    for name in ("rank", "index", "score" if probabilities is None else "probability"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", width=BAR_CELLS)
    table.add_column("document", no_wrap=True, overflow="ellipsis", ratio=1)
    for rank, (hit, value) in enumerate(zip(hits, values, strict=True), 1):
        start, end = hit.span
        snippet = clean(texts[hit.index][start : min(end, start + SNIPPET_CHARACTERS)])
        lead = "… " if start else ""
        table.add_row(str(rank), str(hit.index), f"{value:.3f}", Text(bar(value), style="cyan"), Text(lead + snippet))
    Console().print(table)


def bar(score: float) -> str:
    """A score from 0 to 1 as BAR_CELLS cells, filled from the left in eighths."""
    eighths = round(min(max(score, 0.0), 1.0) * BAR_CELLS * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")


def clean(text: str) -> str:
    """One line that a terminal can show: a document may hold escape sequences, and they are not for it to obey."""
    return "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
