"""Pictures for the report, as SVG text that needs nothing from elsewhere."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from crossrank.evaluate.run import Outcome, Table

__all__ = ["histogram", "quality_and_speed"]

COLOURS = ("#3465a4", "#c4622d", "#2f8f5b", "#8a4fa3", "#b58900", "#5f6b76", "#b03060", "#2a8c94")
RELEVANT, OTHER = "#2f8f5b", "#9aa5b1"


def quality_and_speed(tables: Sequence[Table]) -> str | None:
    """Quality, the mean over collections of each one's first measure, against documents a second.

    None if no system's time is known.
    """
    points = []
    outcomes = tables[0].outcomes
    for place, outcome in enumerate(outcomes):
        all_of_it = [table.outcomes[place] for table in tables]
        costs = [each.cost for each in all_of_it]
        seconds = sum(cost.seconds for cost in costs if cost)
        documents = sum(cost.documents for cost in costs if cost)
        if place and seconds > 0 and all(costs):
            quality = float(np.mean([each.mean(t.measures[0]) for t, each in zip(tables, all_of_it, strict=True)]))
            points.append((outcome.system, documents / seconds, quality, COLOURS[(place - 1) % len(COLOURS)]))
    if not points:
        return None
    figure, axes = _axes(6.4, 3.6)
    first = float(np.mean([table.outcomes[0].mean(table.measures[0]) for table in tables]))
    axes.axhline(first, color=OTHER, linestyle="--", linewidth=1)
    axes.annotate(
        outcomes[0].system, (0.01, first), xycoords=("axes fraction", "data"), xytext=(0, 3),
        textcoords="offset points", fontsize=8, color="#5f6b76",
    )  # fmt: skip
    for label, speed, quality, colour in points:
        axes.scatter([speed], [quality], color=colour, s=48, zorder=3, label=label)
    axes.set_xscale("log")
    axes.set_xlim(min(p[1] for p in points) / 2.2, max(p[1] for p in points) * 2.2)
    low, high = min(first, *(p[2] for p in points)), max(first, *(p[2] for p in points))
    margin = max(0.02, (high - low) * 0.18)
    axes.set_ylim(max(0.0, low - margin), min(1.0, high + margin))
    axes.set_xlabel("documents a second (log scale)")
    names = {table.measures[0] for table in tables}
    name = names.pop() if len(names) == 1 else "quality"
    axes.set_ylabel(f"{name}, mean of {len(tables)} collections" if len(tables) > 1 else name)
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.xaxis.set_minor_formatter("{x:,g}")
    axes.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _svg(figure, "Quality against speed")


def histogram(table: Table, outcome: Outcome) -> str:
    """Scores of relevant and of other candidates, each as a share of its own kind."""
    relevant: list[float] = []
    other: list[float] = []
    for query in table.queries:
        wanted = table.collection.relevant(query)
        for document, score in outcome.run.get(query, ()):
            (relevant if document in wanted else other).append(score)
    figure, axes = _axes(3.3, 2.1)
    both = np.array([*relevant, *other])
    low, high = (float(both.min()), float(both.max())) if len(both) else (0.0, 1.0)
    edges = np.linspace(low, max(high, low + 1e-6), 41).tolist()
    for scores, colour, label in ((other, OTHER, "other"), (relevant, RELEVANT, "relevant")):
        if scores:
            weights = np.full(len(scores), 1 / len(scores))
            axes.hist(scores, bins=edges, weights=weights, color=colour, alpha=0.65, label=f"{label} ({len(scores):,})")
    axes.set_title(outcome.system, fontsize=9)
    axes.set_xlabel(outcome.scale, fontsize=8)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    if len(both):
        axes.margins(y=0.3)  # room for the legend above the bars
        axes.legend(fontsize=7, frameon=False, loc="upper right")
    return _svg(figure, f"{table.collection.name}: scores of {outcome.system}")


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.grid(axis="y", color="#e3e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _svg(figure: Figure, title: str) -> str:
    """The figure as an <svg> element; its text is drawn as shapes, so it looks alike everywhere."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": title}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Title": title}, transparent=True)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    # Ids are per figure; in one page they must differ, or a glyph of one picture is drawn in another.
    prefix = re.sub(r"\W+", "-", title)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    return re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
