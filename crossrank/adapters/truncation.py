"""Pairs cut to fit rather than read in windows: what both libraries do when they score pairs."""

from __future__ import annotations

from collections.abc import Sequence

from crossrank.errors import InputError
from crossrank.inputs import read_pair
from crossrank.reranker import Reranker

__all__ = ["is_one_pair", "longest_first", "truncated_logits"]


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of each side to keep so that both fit in `room`: the longer side is cut until they are equal.

    An odd token goes to the side that was longer, to the second where they were equal, as in the tokenizers library.
    """
    if first + second <= room:
        return first, second
    short = min(first, second, room // 2)
    return (room - short, short) if first > second else (short, room - short)


def truncated_logits(reranker: Reranker, pairs: Sequence[Sequence[str]], max_length: int | None = None) -> list[float]:
    """The logit of each (query, document), both cut by longest_first to `max_length` tokens, special ones included.

    None means the reranker's own limit. Raises InputError for anything but pairs of strings, and for a `max_length`
    that the model cannot meet.
    """
    template, longest = reranker.checkpoint.template, reranker.checkpoint.max_length
    limit = reranker.limits.max_length if max_length is None else max_length
    assert limit is not None
    if not template.fixed < limit <= longest:
        raise InputError(f"max_length should be from {template.fixed + 1} to this model's {longest}, not {limit}")
    read = [read_pair(pair, f"pairs[{index}]") for index, pair in enumerate(pairs)]
    encode = reranker.checkpoint.tokenizer.encode
    sequences = []
    queries = encode([pair.query.text for pair in read])
    for query, document in zip(queries, encode([pair.document.text for pair in read]), strict=True):
        kept = longest_first(len(query), len(document), limit - template.fixed)
        sequences.append(template.fill(query[: kept[0]], document[: kept[1]]))
    return reranker.scorer.logits(sequences)


def is_one_pair(pairs: Sequence[object]) -> bool:
    """Whether this is (query, document) itself rather than a list of such."""
    return len(pairs) == 2 and all(isinstance(side, str) for side in pairs)
