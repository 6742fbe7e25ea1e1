"""What was measured, the targets it is held to, and the table that people read."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

from benchmarks.ndcg import Quality
from benchmarks.probe import Probe

__all__ = ["Line", "Report", "Target", "markdown"]


@dataclass(slots=True)
class Line:
    """One engine.

    tried: seconds of every setting that was tried, on a quarter of the documents. seconds: of each round of the race.
    cpu_seconds: of all threads, in each. others: the share of the cores that other processes took in each.
    """

    name: str
    label: str
    precision: str
    setting: str
    tried: dict[str, float]
    max_error: float
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    probe: Probe | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclass(frozen=True, slots=True)
class Target:
    """A ratio, or for quality a difference, and what it should reach; met is None when something was not measured.

    found: of the medians, which decides. at_best: the same ratio of the best rounds, against the best of the best.
    """

    text: str
    wanted: float
    found: float | None
    met: bool | None
    at_best: float | None = None


@dataclass(slots=True, kw_only=True)
class Report:
    machine: str
    commit: str
    versions: dict[str, str]
    threads: int
    model: str
    rounds: int
    lengths: list[int]
    flops_needed: float
    flops_full: float
    peaks: dict[str, float]
    missing: dict[str, list[str]]
    lines: list[Line]
    quality: Quality | None = None

    def line(self, name: str) -> Line | None:
        return next((line for line in self.lines if line.name == name), None)

    def others(self, precision: str) -> list[Line]:
        """The engines of this precision that are not ours."""
        return [line for line in self.lines if line.precision == precision and line.label != "crossrank"]

    def speed(self, line: Line) -> float:
        return len(self.lengths) / line.median

    def share(self, line: Line) -> float:
        """Of the GEMM peak of the line's precision: operations that exact logits need, a second."""
        return self.flops_needed / line.median / self.peaks[line.precision]

    def targets(self) -> Iterator[Target]:
        default = [line for line in self.lines if line.name == "st-default"]
        flashrank = [line for line in self.lines if line.name == "flashrank-int8"]
        fp32, int8 = self.line("crossrank-fp32"), self.line("crossrank-int8")
        yield _ratio("float32 against sentence-transformers' default", 1.9, fp32, default)
        yield _ratio("float32 against the best other float32", 1.25, fp32, self.others("float32"))
        yield _ratio("int8 against sentence-transformers' default", 2.8, int8, default)
        yield _ratio("int8 against the best other int8", 1.3, int8, self.others("int8"))
        yield _ratio("int8 against FlashRank's int8", 3.0, int8, flashrank)
        change = abs(self.quality.change) if self.quality else None
        where = f" of {self.quality.collection}" if self.quality else ""
        yield Target(f"change of nDCG@10{where} by int8", 0.003, change, None if change is None else change < 0.003)

    def plain(self) -> dict[str, object]:
        """For JSON: every number, and what the table derives from them."""
        plain = asdict(self)
        for line, row in zip(self.lines, plain["lines"], strict=True):
            row |= {"documents_per_second": self.speed(line), "share_of_gemm_peak": self.share(line)}
        return plain | {"targets": [asdict(target) for target in self.targets()]}


def _ratio(text: str, wanted: float, ours: Line | None, theirs: list[Line]) -> Target:
    """Against the fastest of theirs."""
    if ours is None or not theirs:
        return Target(text, wanted, None, None)
    fastest = min(theirs, key=lambda line: line.median)
    found = fastest.median / ours.median
    at_best = min(min(line.seconds) for line in theirs) / min(ours.seconds)
    named = f"{text} ({fastest.label})" if len(theirs) > 1 else text
    return Target(named, wanted, found, found >= wanted, at_best)


def markdown(report: Report) -> str:
    counts = report.lengths
    default = report.line("st-default")
    others = [share for line in report.lines for share in line.others]
    peaks = ", ".join(f"{precision} {peak / 1e9:,.0f} G" for precision, peak in report.peaks.items())
    rows = [
        "# Reranking on a CPU",
        "",
        f"{report.machine}, {report.threads} threads · {report.model} · commit {report.commit} · "
        + " · ".join(f"{name} {version}" for name, version in report.versions.items()),
        "",
        f"{len(counts)} documents; with the query {min(counts)} to {max(counts)} tokens, "
        f"mean {statistics.mean(counts):.0f}, {sum(counts):,} in all. Median of {report.rounds} rounds, engines in "
        f"turn in one process. Other processes took {max(others):.0%} of the cores during the worst run that counts, "
        f"{statistics.mean(others):.0%} on average.",
        "",
        "| engine | precision | setting | documents/s | best round | a CPU second | × s-t default | share of GEMM peak "
        "| max abs Δlogit | peak memory | cold start |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for line in sorted(report.lines, key=lambda line: line.median):
        ratio = f"{default.median / line.median:.2f}" if default else ""
        memory = f"{line.probe.peak_mb:,.0f} MB" if line.probe and line.probe.peak_mb else ""
        cold = f"{line.probe.cold_s:.1f} s" if line.probe else ""
        bold = "**" if line.label == "crossrank" else ""
        rows.append(
            f"| {bold}{line.label}{bold} | {line.precision} | {line.setting} | {report.speed(line):.1f} "
            f"| {len(counts) / min(line.seconds):.1f} "
            f"| {len(counts) / min(line.cpu_seconds):.1f} | {ratio} | {report.share(line):.0%} | {line.max_error:.1e} "
            f"| {memory} | {cold} |"
        )
    for name, modules in report.missing.items():
        rows.append(f"| {name} | | not measured: no {', '.join(modules)} here | | | | | | | | |")
    rows += ["", "| target | wanted | median | best rounds | |", "|---|--:|--:|--:|---|"]
    for target in report.targets():
        quality = "nDCG" in target.text
        wanted = f"< {target.wanted}" if quality else f"≥ {target.wanted:g} ×"
        found = "" if target.found is None else f"{target.found:.4f}" if quality else f"{target.found:.2f} ×"
        verdict = {True: "met", False: "**missed**", None: "not measured"}[target.met]
        at_best = "" if target.at_best is None else f"{target.at_best:.2f} ×"
        rows.append(f"| {target.text} | {wanted} | {found} | {at_best} | {verdict} |")
    rows += [
        "",
        f"Arithmetic: {report.flops_needed / 1e9:,.0f} G operations for exact logits, {report.flops_full / 1e9:,.0f} G "
        f"with every token through the last layer; products alone reach {peaks} operations/s here, at this "
        "model's shapes.",
    ]
    if report.quality:
        q = report.quality
        rows += [
            "",
            f"{q.collection}, {q.queries} queries, BM25's top 100, nDCG@10: BM25 {q.bm25:.4f}, "
            f"float32 {q.float32:.4f}, int8 {q.int8:.4f} ({q.change:+.4f}; {q.moved} queries moved).",
        ]
    return "\n".join(rows)
