"""Text -> the words that BM25 counts, and its two constants: for measuring and for mining alike."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["K1", "MARKS", "B", "words"]

K1, B = 1.2, 0.75  # Lucene's own

# Vowel signs, tones, accents: parts of words, which \w leaves out. What only chooses a glyph, from U+FE00, is no part.
MARKS = "".join(
    chr(code)
    for code in (*range(0x300, 0xFE00), *range(0xFE10, 0x1F000))
    if unicodedata.category(chr(code)) in ("Mn", "Mc")
)
# snake_case is several: code and tables are searched by parts of names. Without marks the search is ten times as fast.
PLAIN_WORD = re.compile(r"[^\W_]+")
WORD = re.compile(rf"[^\W_]+(?:[{MARKS}]+[^\W_]*)*")
# Scripts that are written without spaces: Thai, Lao, Myanmar, Khmer, kana, bopomofo, ideographs.
DENSE = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u312f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f]+"
)
# Lucene's list for English.
STOP = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with".split()
)


def words(text: str) -> list[str]:
    """Lower-cased words, unstemmed, without English stop words; character pairs where a script has no spaces."""
    found = []
    lowered = text.lower()
    pieces = PLAIN_WORD.findall(lowered) if text.isascii() else WORD.findall(unicodedata.normalize("NFC", lowered))
    for word in pieces:
        start = 0
        for dense in DENSE.finditer(word):
            found.append(word[start : dense.start()])
            run = dense.group()
            found.extend(run[i : i + 2] for i in range(max(1, len(run) - 1)))
            start = dense.end()
        found.append(word[start:])
    return [word for word in found if word and word not in STOP]
