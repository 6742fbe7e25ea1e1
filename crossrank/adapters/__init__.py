"""The call shapes of other libraries over a Reranker, so that code written for them runs unchanged.

jina.py           compute_score and rerank, the methods of Jina's published models
cross_encoder.py  predict and rank, as sentence-transformers' CrossEncoder has them
"""

from __future__ import annotations

from crossrank.adapters.cross_encoder import CrossEncoder
from crossrank.adapters.jina import JinaReranker

__all__ = ["CrossEncoder", "JinaReranker"]
