"""Does a reranker help? Collections in; measures, comparisons, cost and a report out.

    first_stage.py   BM25, a run file or the collection's own candidates: what there is to rerank
    systems.py       models side by side; baselines.py has the peers
    run.py           the loop, which journal.py makes resumable
    measures.py      nDCG@10 and its kin, by ir-measures; compare.py says whether a difference is luck
    card.py          what was run, on what, by which versions
    report.py        one page to look at, with the pictures of plots.py

Needs the extra `crossrank[evaluate]`.
"""

from crossrank.errors import need

need("bm25s", "ir_measures", "matplotlib", extra="evaluate")
