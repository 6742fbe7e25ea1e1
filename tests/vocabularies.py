"""Small tokenizer files of the kinds that cross-encoders come with, made on the spot.

In each of them a single letter between spaces is one token, so `letters(n)` is a text of exactly n tokens.
"""

from __future__ import annotations

import string

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = ("what", "is", "the", "capital", "of", "france", "paris", "berlin", "germany", "a", "red", "fox")
SYMBOLS = (*string.ascii_lowercase, *string.digits, *string.punctuation, "🙂", "é", "中")
BERT_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")


def letters(count: int, seed: int = 0) -> str:
    """A text of `count` tokens, for every tokenizer here."""
    return " ".join(np.random.default_rng(seed).choice(list(string.ascii_lowercase), count))


def wordpiece() -> Tokenizer:
    """As bert-base-uncased: lower-cased, accents stripped, punctuation apart, [CLS] q [SEP] d [SEP]."""
    pieces = [*BERT_SPECIALS, *SYMBOLS, *(f"##{symbol}" for symbol in SYMBOLS), *(w for w in WORDS if len(w) > 1)]
    raw = Tokenizer(models.WordPiece({piece: index for index, piece in enumerate(pieces)}, unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer(lowercase=True)
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    raw.add_special_tokens(list(BERT_SPECIALS))
    return raw


def bpe() -> Tokenizer:
    """As jina-reranker-v1: lower-cased characters merged inside words, <s> q </s></s> d </s>."""
    pieces = dict.fromkeys([*ROBERTA_SPECIALS, "<mask>", *SYMBOLS])
    merges: dict[tuple[str, str], None] = {}
    for word in WORDS:
        for end in range(1, len(word)):
            merges[word[:end], word[end]] = None
            pieces[word[: end + 1]] = None
    return _roberta(
        models.BPE({p: i for i, p in enumerate(pieces)}, list(merges), unk_token="<unk>"),
        normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()]),
        pre_tokenizers.Whitespace(),
    )


def unigram() -> Tokenizer:
    """As XLM-RoBERTa: scored pieces with ▁ for a space, special tokens among them, <s> q </s></s> d </s>."""
    scored = {piece: 0.0 for piece in ROBERTA_SPECIALS} | {"▁": -4.0}
    scored |= {f"▁{word}": -5.0 - 0.1 * index for index, word in enumerate(WORDS)}
    scored |= {symbol: -8.0 - 0.01 * index for index, symbol in enumerate(SYMBOLS)}
    scored |= {f"▁{symbol}": -9.0 - 0.01 * index for index, symbol in enumerate(SYMBOLS) if symbol != "a"}
    scored["<mask>"] = 0.0
    return _roberta(
        models.Unigram(list(scored.items()), unk_id=3, byte_fallback=False),
        normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]),
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]),
    )


def byte_bpe() -> Tokenizer:
    """As RoBERTa: bytes, a few of them merged, so that one character may take several tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = dict.fromkeys([*ROBERTA_SPECIALS, "<mask>", *alphabet])
    merges = {("Ġ", letter): None for letter in string.ascii_lowercase}
    pieces |= {"".join(merge): None for merge in merges}
    return _roberta(
        models.BPE({p: i for i, p in enumerate(pieces)}, list(merges)),
        None,
        pre_tokenizers.ByteLevel(add_prefix_space=True),
    )


def modern() -> Tokenizer:
    """As ModernBERT: bytes, a few of them merged, [CLS] q [SEP] d [SEP]."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = {("Ġ", letter): None for letter in string.ascii_lowercase}
    pieces = dict.fromkeys([*BERT_SPECIALS, *alphabet, *("".join(merge) for merge in merges)])
    raw = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, list(merges)))
    raw.normalizer = normalizers.NFC()
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    raw.add_special_tokens([*BERT_SPECIALS[:-1], AddedToken("[MASK]", lstrip=True)])
    return raw


def apart() -> Tokenizer:
    """As crossrank's own mini-en: wordpiece's, with a frame round each side, [CLS] q [SEP] [CLS] d [SEP]."""
    return framed_apart(wordpiece())


def framed_apart(raw: Tokenizer, query: str = "", document: str = "") -> Tokenizer:
    """The tokenizer, putting each side, after a prompt, between special tokens of its own."""
    known = raw.get_vocab()
    first, last = ("[CLS]", "[SEP]") if "[CLS]" in known else ("<s>", "</s>")
    special, pair = [(first, known[first]), (last, known[last])], []
    for kind, (side, prompt) in enumerate((("$A", query), ("$B", document))):
        pieces = raw.encode(prompt, add_special_tokens=False)
        name = [f"prompt {side}"] if prompt else []
        special += [{"id": each, "ids": pieces.ids, "tokens": pieces.tokens} for each in name]
        pair += [f"{part}:{kind}" for part in (first, *name, side, last)]
    raw.post_processor = processors.TemplateProcessing(
        single=f"{first}:0 $A:0 {last}:0", pair=pair, special_tokens=special
    )
    return raw


def _roberta(
    model: models.Model, normalizer: normalizers.Normalizer | None, splitter: pre_tokenizers.PreTokenizer
) -> Tokenizer:
    raw = Tokenizer(model)
    if normalizer:
        raw.normalizer = normalizer
    raw.pre_tokenizer = splitter
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    raw.add_special_tokens([*ROBERTA_SPECIALS, AddedToken("<mask>", lstrip=True)])
    return raw


KINDS = {"wordpiece": wordpiece, "apart": apart, "bpe": bpe, "unigram": unigram, "byte_bpe": byte_bpe, "modern": modern}
