"""tokenizer.json -> token ids for one side of a pair. Text that spells a special token stays text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tokenizers
from jaxtyping import Int, Int32

from crossrank.errors import CheckpointError

__all__ = ["Tokenizer"]

# An Encoding holds strings and offsets beside its ids, some 100 bytes a token: so many characters at a time, no more.
CHUNK_CHARACTERS = 1_000_000


class Tokenizer:
    """A tokenizer.json without truncation, padding or special tokens: those belong to windows and template."""

    def __init__(self, raw: tokenizers.Tokenizer) -> None:
        if isinstance(raw.model, tokenizers.models.Unigram):
            raw = _unspellable(raw)
        raw.no_truncation()
        raw.no_padding()
        raw.encode_special_tokens = True
        self.raw = raw

    @classmethod
    def read(cls, path: Path) -> Tokenizer:
        """Read a tokenizer.json; CheckpointError if there is none or it cannot be parsed."""
        if not path.is_file():
            raise CheckpointError(f"{path.parent} lacks tokenizer.json; without it the text cannot become tokens")
        try:
            return cls(tokenizers.Tokenizer.from_file(str(path)))
        except Exception as error:  # the bindings raise bare Exception
            raise CheckpointError(f"{path} cannot be read by tokenizers {tokenizers.__version__}: {error}") from error

    @property
    def size(self) -> int:
        """One more than the highest token id."""
        return max(self.raw.get_vocab(with_added_tokens=True).values()) + 1

    def encode(self, texts: Sequence[str]) -> list[Int32[np.ndarray, " tokens"]]:
        """The ids of each text, whole, without special tokens."""
        ids = []
        for chunk in _chunks(texts):
            for encoding in self.raw.encode_batch_fast(chunk, add_special_tokens=False):
                ids.append(np.array(encoding.ids, dtype=np.int32))
        return ids

    def offsets(self, text: str) -> Int[np.ndarray, "tokens 2"]:
        """Where each token of `text` lies in it, as half-open ranges of code points."""
        return np.array(self.raw.encode(text, add_special_tokens=False).offsets, dtype=np.int64).reshape(-1, 2)

    def framed_pair(self) -> tokenizers.Encoding:
        """A short pair with the special tokens that this tokenizer's own post-processor puts round it."""
        return self.raw.encode("a", "a", add_special_tokens=True)


def _unspellable(raw: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """A Unigram tokenizer whose special tokens no text can spell.

    Unigram finds any piece of its vocabulary in a text, "</s>" as much as "the", whether or not special tokens are
    encoded. Ids and scores stay; the pieces get a space in front, which never reaches the model.
    """
    data = json.loads(raw.to_str())
    special = {token["content"] for token in data["added_tokens"] if token["special"]}
    pieces = {piece for piece, _ in data["model"]["vocab"]}
    data["model"]["vocab"] = [
        [f" {piece}" if piece in special else piece, score] for piece, score in data["model"]["vocab"]
    ]
    # Special tokens beyond the vocabulary cannot be spelled anyway, and the ids of tokens after them count on them.
    data["added_tokens"] = [
        token for token in data["added_tokens"] if not token["special"] or token["content"] not in pieces
    ]
    return tokenizers.Tokenizer.from_str(json.dumps(data))


def _chunks(texts: Sequence[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    size = 0
    for text in texts:
        chunk.append(text)
        size += len(text)
        if size >= CHUNK_CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
