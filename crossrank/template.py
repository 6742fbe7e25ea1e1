"""Where a pair goes among fixed tokens: before, first side, between, second side, after."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32

from crossrank.batch import Filled
from crossrank.errors import CheckpointError
from crossrank.tokens import Tokenizer

__all__ = ["Template", "framed"]


@dataclass(frozen=True, slots=True)
class Template:
    """Fixed token ids round a query and a document, the query first.

    query_frame: how many special tokens the query counts when it is measured alone, as `max_query` measures it.
    types: whether the second side is of a token type of its own, as BERT's tokenizer says and RoBERTa's does not.
    opening: how many of the tokens in `between` belong to the second side already.
    """

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    query_frame: int = 2
    types: bool = True
    opening: int = 0

    @property
    def fixed(self) -> int:
        """How many tokens the template itself takes."""
        return len(self.before) + len(self.between) + len(self.after)

    @property
    def beside(self) -> int:
        """How many of them the query does not count."""
        return self.fixed - self.query_frame

    def fill(self, query: Int32[np.ndarray, " query"], document: Int32[np.ndarray, " document"]) -> Filled:
        """Put a query and a document, or a window of it, in their places."""
        head = np.array(self.before, dtype=np.int32), query, np.array(self.between, dtype=np.int32)
        tokens = np.concatenate((*head, document, np.array(self.after, dtype=np.int32)))
        first = len(self.before) + len(query) + len(self.between) - self.opening
        return Filled(tokens=tokens, split=first if self.types else len(tokens))


def framed(tokenizer: Tokenizer) -> Template:
    """The template that a tokenizer's own post-processor writes: [CLS] q [SEP] d [SEP], <s> q </s></s> d </s>, ..."""
    encoding = tokenizer.framed_pair()
    sides = encoding.sequence_ids
    if not encoding.ids or sides[0] is not None or sides[-1] is not None or 0 not in sides or 1 not in sides:
        raise CheckpointError("tokenizer.json puts no special tokens round a pair; an encoder needs its post_processor")
    first, second = sides.index(0), sides.index(1)
    if second < first:
        raise CheckpointError("tokenizer.json puts the second text of a pair first; an encoder reads the query first")
    first_end = len(sides) - sides[::-1].index(0)
    second_end = len(sides) - sides[::-1].index(1)
    ids, kinds = encoding.ids, encoding.type_ids
    return Template(
        before=tuple(ids[:first]),
        between=tuple(ids[first_end:second]),
        after=tuple(ids[second_end:]),
        types=kinds[second] == 1,
        opening=sum(kind == 1 for kind in kinds[first_end:second]),
    )
