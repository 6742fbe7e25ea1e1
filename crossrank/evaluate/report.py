"""One self-contained page: tables, pictures, and the queries that got worse, for a person to look at."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from crossrank.evaluate.compare import Difference, worst
from crossrank.evaluate.plots import histogram, quality_and_speed
from crossrank.evaluate.run import Outcome, Table

__all__ = ["report_page"]

WORST = 8
SNIPPET = 320
INJECTED = "Relevant documents that it missed were put among the candidates, which flatters every reranker."

STYLE = """
:root { --ink: #1f2933; --soft: #5f6b76; --line: #e3e7eb; --good: #2f8f5b; --bad: #b5403a; --panel: #f6f8fa; }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff; margin: 0 auto; max-width: 70rem;
       padding: 1.5rem 1.25rem 4rem }
h1 { font-size: 1.6rem; margin: 0 0 .25rem } h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem }
h3 { font-size: 1rem; margin: 1.5rem 0 .4rem }
p { margin: .4rem 0; max-width: 46rem } .soft { color: var(--soft) }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; margin: .5rem 0 }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }
th { color: var(--soft); font-weight: 600; border-bottom-color: #c5cdd5 }
th:first-child, td:first-child, .left { text-align: left }
td.best { font-weight: 700 } .up { color: var(--good) } .down { color: var(--bad) }
.pictures { display: flex; flex-wrap: wrap; gap: .5rem 1rem } svg { max-width: 100%; height: auto }
details { margin: .5rem 0; border: 1px solid var(--line); border-radius: 6px; padding: .4rem .8rem }
summary { cursor: pointer; font-weight: 600 }
.query { border-top: 1px solid var(--line); padding: .6rem 0; overflow-wrap: anywhere }
.query:first-of-type { border: 0 }
.query b { font-weight: 600 } .label { color: var(--soft); font-size: .85rem }
pre { background: var(--panel); padding: .8rem; overflow-x: auto; font-size: .82rem; border-radius: 6px }
nav a { margin-right: .8rem } a { color: #3465a4 }
@media (max-width: 40rem) { body { padding: 1rem .75rem } }
"""


def report_page(
    tables: Sequence[Table], differences: Mapping[str, Sequence[Difference]], card: Mapping[str, Any]
) -> str:
    """The page as HTML. differences: collection -> every pair of systems, by the first measure."""
    return "".join(_page(tables, differences, card))


def _page(
    tables: Sequence[Table], differences: Mapping[str, Sequence[Difference]], card: Mapping[str, Any]
) -> Iterator[str]:
    alike = len({table.measures[0] for table in tables}) == 1
    first = tables[0].measures[0] if alike else "each collection's measure"
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>Reranking, {escape(first)}</title><style>{STYLE}</style></head><body>"
    yield f"<h1>Does reranking help?</h1><p class=soft>{escape(card['finished'])} · crossrank "
    yield f"{escape(str(card['versions']['crossrank']))} · {escape(card['machine']['processor'])}, "
    yield f"{card['machine']['threads']} threads</p>"
    if len(tables) > 1:
        links = (f'<a href="#c{place}">{escape(table.collection.name)}</a>' for place, table in enumerate(tables))
        yield f"<nav>{''.join(links)}</nav>"
        yield from _overview(tables, differences, first, alike, card["options"]["inject_relevant"])
    picture = quality_and_speed(tables)
    if picture:
        yield f"<h2>Quality and speed</h2>{picture}"
        yield "<p class=soft>The dashed line is the first stage alone. A document counts once for each query it was "
        yield "scored for; a bi-encoder's speed includes encoding each document once.</p>"
    for place, table in enumerate(tables):
        yield from _collection(place, table, differences[table.collection.name])
    yield f"<h2>Run card</h2><pre>{escape(json.dumps(card, indent=2, ensure_ascii=False))}</pre></body></html>\n"


def _overview(
    tables: Sequence[Table], differences: Mapping[str, Sequence[Difference]], title: str, alike: bool, injected: bool
) -> Iterator[str]:
    systems = [outcome.system for outcome in tables[0].outcomes]
    yield f"<h2>{escape(title[0].upper() + title[1:])}</h2><div class=wide><table><tr><th>collection</th>"
    yield "" if alike else "<th class=left>measure</th>"
    yield "".join(f"<th>{escape(system)}</th>" for system in systems) + "<th>ceiling</th></tr>"
    for place, table in enumerate(tables):
        means = [outcome.mean(table.measures[0]) for outcome in table.outcomes]
        against = {d.after: d for d in differences[table.collection.name] if d.before == systems[0]}
        yield f'<tr><td><a href="#c{place}">{escape(table.collection.name)}</a></td>'
        yield "" if alike else f"<td class=left>{escape(table.measures[0])}</td>"
        for outcome, value in zip(table.outcomes, means, strict=True):
            mark = "" if outcome.system not in against else _mark(against[outcome.system])
            best = " class=best" if value == max(means) else ""
            yield f"<td{best}>{value:.3f}{mark}</td>"
        yield f"<td class=soft>{table.outcomes[0].mean(table.ceiling):.3f}</td></tr>"
    mean = [sum(t.outcomes[i].mean(t.measures[0]) for t in tables) / len(tables) for i in range(len(systems))]
    yield f"<tr><td><b>mean</b></td>{'' if alike else '<td></td>'}"
    yield "".join(f"<td><b>{value:.3f}</b></td>" for value in mean) + "<td></td></tr>"
    yield f"</table></div><p class=soft>Arrows: better or worse than {escape(systems[0])} with p &lt; 0.05 in that one "
    yield f"comparison. The ceiling is the first stage's {escape(tables[0].ceiling)}: what it missed, no reranker "
    yield "finds. "
    yield INJECTED if injected else "Nothing was added to what it found."
    yield "</p>"


def _mark(difference: Difference) -> str:
    if difference.p >= 0.05:
        return ""
    return "<span class=up> ▲</span>" if difference.mean > 0 else "<span class=down> ▼</span>"


def _collection(place: int, table: Table, differences: Sequence[Difference]) -> Iterator[str]:
    collection = table.collection
    sampled = f" of {len(collection.usable):,}" if len(table.queries) < len(collection.usable) else ""
    yield f'<h2 id="c{place}">{escape(collection.name)}</h2>'
    yield f"<p class=soft>{len(collection.documents):,} documents, {len(table.queries):,}{sampled} queries"
    yield f"; {escape(str(table.gap))}" if str(table.gap) else ""
    yield "</p><div class=wide><table><tr><th>system</th>"
    names = list(dict.fromkeys([*table.measures, table.ceiling]))
    yield "".join(f"<th>{escape(name)}</th>" for name in names)
    yield "<th>documents/s</th><th>ms a query</th><th>tokens/s</th><th>peak memory</th></tr>"
    top = {name: max(outcome.mean(name) for outcome in table.outcomes) for name in names}
    for outcome in table.outcomes:
        yield f"<tr><td>{escape(outcome.system)}</td>"
        for name in names:
            best = " class=best" if outcome.mean(name) == top[name] else ""
            yield f"<td{best}>{outcome.mean(name):.3f}</td>"
        yield from _cost(outcome, len(table.queries))
        yield "</tr>"
    yield "</table></div>"
    yield from _comparisons(differences)
    yield "<h3>Scores of relevant and other candidates</h3><div class=pictures>"
    yield "".join(histogram(table, outcome) for outcome in table.outcomes) + "</div>"
    by_name = {outcome.system: outcome for outcome in table.outcomes}
    for difference in differences:
        yield from _regressions(table, difference, by_name[difference.before], by_name[difference.after])


def _cost(outcome: Outcome, queries: int) -> Iterator[str]:
    cost = outcome.cost
    if cost is None or not cost.seconds:
        yield "<td>–</td>" * 4
        return
    yield f"<td>{cost.documents / cost.seconds:,.0f}</td><td>{1000 * cost.seconds / queries:,.1f}</td>"
    yield "<td>–</td>" if cost.tokens is None else f"<td>{cost.tokens / cost.seconds:,.0f}</td>"
    yield "<td>–</td>" if cost.peak is None else f"<td>{cost.peak / 2**20:,.0f} MiB</td>"


def _comparisons(differences: Sequence[Difference]) -> Iterator[str]:
    if not differences:
        return
    yield f"<h3>Differences by {escape(differences[0].measure)}</h3><div class=wide><table>"
    yield "<tr><th>system</th><th class=left>against</th><th>difference</th><th>95 % interval</th><th>p</th>"
    yield "<th>better</th><th>worse</th></tr>"
    for each in differences:
        colour = "" if each.p >= 0.05 else " class=up" if each.mean > 0 else " class=down"
        yield f"<tr><td>{escape(each.after)}</td><td class=left>{escape(each.before)}</td>"
        yield f"<td{colour}>{each.mean:+.3f}</td><td>{each.low:+.3f} to {each.high:+.3f}</td><td>{each.p:.4f}</td>"
        yield f"<td>{each.wins}</td><td>{each.losses}</td></tr>"
    yield "</table></div><p class=soft>Paired randomisation test and percentile bootstrap over queries; p is that of "
    yield "one comparison by itself. Better and worse count queries.</p>"


def _regressions(table: Table, difference: Difference, before: Outcome, after: Outcome) -> Iterator[str]:
    lost = worst(difference.changes, WORST)
    if not lost:
        return
    yield f"<details><summary>{difference.losses} queries got worse from {escape(before.system)} to "
    yield f"{escape(after.system)}; the worst {len(lost)}</summary>"
    for change in lost:
        wanted = table.collection.relevant(change.query)
        top = after.run[change.query][0][0] if after.run.get(change.query) else None
        yield f"<div class=query><b>{escape(change.text)}</b> <span class=label>{escape(change.query)} · "
        yield f"{escape(difference.measure)} {change.before:.3f} → <span class=down>{change.after:.3f}</span></span>"
        if top is not None:
            kind = "relevant" if top in wanted else "not judged relevant"
            yield f"<div><span class=label>now first ({kind}):</span> {_snippet(table, top)}</div>"
        for document in sorted(wanted, key=lambda d: _place(after, change.query, d))[:1]:
            yield f"<div><span class=label>relevant, place {_places(before, after, change.query, document)}:</span> "
            yield f"{_snippet(table, document)}</div>"
        yield "</div>"
    yield "</details>"


def _snippet(table: Table, document: str) -> str:
    text = " ".join(table.collection.documents.get(document, "(not in the corpus)").split())
    return escape(text if len(text) <= SNIPPET else text[:SNIPPET] + " …")


def _place(outcome: Outcome, query: str, document: str) -> int:
    """From 1; past the end if it is not there."""
    ranked = [found for found, _ in outcome.run.get(query, ())]
    return ranked.index(document) + 1 if document in ranked else len(ranked) + 1


def _places(before: Outcome, after: Outcome, query: str, document: str) -> str:
    found = {document for document, _ in after.run.get(query, ())}
    if document not in found:
        return "none, the first stage missed it"
    return f"{_place(before, query, document)} → {_place(after, query, document)}"
