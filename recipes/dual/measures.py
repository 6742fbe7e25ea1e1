"""How a list of labelled documents is judged."""

from __future__ import annotations

import numpy as np


def ndcg(scores: np.ndarray, label: np.ndarray) -> float:
    """nDCG@10 of one list; among equal scores the labelled ones count as last."""
    gains = label[np.lexsort((label, -scores))][:10].astype(float)
    discount = 1 / np.log2(np.arange(2, 12))
    return float((gains * discount[: len(gains)]).sum() / discount[: min(10, int(label.sum()))].sum())
