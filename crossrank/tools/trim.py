"""A model with fewer rows in its vocabulary, and the same logits for every text whose pieces were all kept.

Why that is exact. Unigram (Kudo 2018, https://arxiv.org/abs/1804.10959) takes the best-scoring path through a text's
pieces: a smaller vocabulary only has fewer paths, and where two tie the one whose last piece is longer wins with or
without the others. What an unknown character costs follows from the lowest score of the vocabulary, so a piece with
that score stays. WordPiece takes the longest piece that fits: with fewer pieces the longest of before is still the
longest. A word that it gave up on must not become possible, so pieces with a character that has no continuation of its
own never stay. Pieces keep their order, scores and rows, bit for bit; single characters all stay, so that a text whose
pieces went is spelled in smaller ones rather than unknown.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from crossrank.checkpoint import read_config, read_stored
from crossrank.errors import CheckpointError, InputError, ModelError
from crossrank.models.naming import WORDS
from crossrank.nibbles import NIBBLES, SCALES, unpacked
from crossrank.tokens import Tokenizer
from crossrank.tools.scripts import within
from crossrank.tools.vocabulary import Vocabulary, read_vocabulary, rewritten

__all__ = ["Trimmed", "trim"]

WEIGHTS = "pieces.weight"  # what each piece weighs where query and document share it: crossrank's dual layout
# Of what may lie in a model's folder: what says nothing of ids. The rest is written anew or left out.
COPIED = (
    "special_tokens_map.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "README.md",
    "LICENSE",
    "LICENSE.txt",
    "NOTICE",
)
TWINS = ("pytorch_model.bin", "model.safetensors.index.json", "pytorch_model.bin.index.json")  # the weights once more
CHUNK_CHARACTERS = 1_000_000
SAMPLE_TEXTS, SAMPLE_CHARACTERS = 1000, 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Trimmed:
    """What a trim did. Rows are of the embedding; bytes of all tensors as they are stored, and of tokenizer.json.

    texts, tokens: of the corpus. tokens_kept: those among them whose piece was kept. sample: how many of its first
    texts had all of theirs kept, and were found to be the same pieces still. left_out: files of the folder that the
    new one has not got.
    """

    rows: int
    rows_before: int
    weight_bytes: int
    weight_bytes_before: int
    tokenizer_bytes: int
    tokenizer_bytes_before: int
    texts: int
    tokens: int
    tokens_kept: int
    sample: int
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Corpus:
    """How often each id occurs in the texts, how many texts there were, and the first of them."""

    counts: NDArray[np.int64]
    texts: int
    sample: tuple[str, ...]


def trim(
    folder: Path,
    out: Path | None,
    texts: Iterable[str] = (),
    *,
    scripts: Sequence[str] = (),
    min_count: int = 1,
    rows: int | None = None,
) -> Trimmed:
    """Write to `out` the model of `folder` with the pieces that occur in `texts` or are of `scripts`.

    min_count: of a piece in the texts. rows: at most so many, the most frequent first: in the texts, and for pieces of
    `scripts` as Unigram's scores expect of a text as long, so that a word that the texts happen to lack has its chance.
    Nothing is written where `out` is None. Raises InputError where `out` exists or nothing was asked to be kept,
    CheckpointError for a tokenizer that is neither Unigram nor WordPiece and for a folder that makes no sense,
    ModelError where `out` cannot be written.
    """
    if out is not None and os.path.lexists(out):
        raise InputError(f"{out} is there already; trim writes a new folder and overwrites none")
    config = read_config(folder)
    vocabulary = read_vocabulary(folder / "tokenizer.json")
    weights, stored = read_stored(folder)
    embedding, rows_before = _embedding(folder, unpacked(stored), vocabulary)
    known = within(scripts) if scripts else None
    tokenizer = Tokenizer.read(folder / "tokenizer.json")
    corpus = _counted(tokenizer, rows_before, texts)
    if not corpus.texts and known is None:
        raise InputError("nothing says which pieces to keep: give texts, languages or scripts")
    wanted = {i for i, piece in vocabulary.pieces.items() if known and known(vocabulary.spelled(piece))}
    kept = _kept(vocabulary, _always(vocabulary, config), wanted, corpus.counts, min_count, rows)
    new_ids = {old: new for new, old in enumerate(kept)}
    text = rewritten(vocabulary, new_ids)
    sample = _proof(tokenizer, vocabulary, text, corpus.sample, new_ids)
    sides = _sides(folder, config, vocabulary, new_ids) | {"tokenizer.json": text}
    copied = [name for name in COPIED if (folder / name).is_file()] + sorted(path.name for path in folder.glob("*.py"))
    before = sum(tensor.nbytes for tensor in stored.values())
    for name in stored.keys() & {embedding, embedding + NIBBLES, embedding + SCALES, WEIGHTS}:
        stored[name] = stored[name][torch.tensor(kept)]
    if out is not None:
        # Tensors of a pickle may share their storage, which safetensors refuses.
        own = {name: t.contiguous() if weights[0].endswith(".safetensors") else t.clone() for name, t in stored.items()}
        _write(folder, out, own, sides, copied)
    there = {path.name for path in folder.iterdir()}
    return Trimmed(
        rows=len(kept),
        rows_before=rows_before,
        weight_bytes=sum(tensor.nbytes for tensor in stored.values()),
        weight_bytes_before=before,
        tokenizer_bytes=len(text.encode()),
        tokenizer_bytes_before=(folder / "tokenizer.json").stat().st_size,
        texts=corpus.texts,
        tokens=int(corpus.counts.sum()),
        tokens_kept=int(corpus.counts[kept].sum()),
        sample=sample,
        left_out=tuple(sorted(there - set(sides) - set(copied) - set(weights) - set(TWINS))),
    )


def _embedding(folder: Path, tensors: Mapping[str, Tensor], vocabulary: Vocabulary) -> tuple[str, int]:
    """The name of the one tensor that embeds pieces, a row each, and how many rows it has."""
    found = [name for name, tensor in tensors.items() if name.endswith(WORDS) and tensor.ndim == 2]
    if len(found) != 1:
        named = " or ".join(f"…{end}" for end in WORDS)
        raise CheckpointError(f"{folder} has {len(found)} tensors named {named}; trim knows models with one")
    heads = [name for name in tensors if name.startswith(("lm_head.", "cls.predictions."))]
    if heads:
        raise CheckpointError(f"{folder} has a language-model head, {heads[0]!r} first, with rows of its own; drop it")
    highest, rows = max(vocabulary.ids), len(tensors[found[0]])
    if highest >= rows:
        raise CheckpointError(f"{folder}: tokenizer.json has ids up to {highest}, the embedding only {rows} rows")
    if WEIGHTS in tensors and len(tensors[WEIGHTS]) != rows:
        raise CheckpointError(f"{folder}: {WEIGHTS} has {len(tensors[WEIGHTS])} rows, the embedding {rows}")
    return found[0], rows


def _counted(tokenizer: Tokenizer, rows: int, texts: Iterable[str]) -> _Corpus:
    counts = np.zeros(rows, dtype=np.int64)
    total = 0
    sample: list[str] = []
    for chunk in _chunks(texts):
        total += len(chunk)
        sample += [text[:SAMPLE_CHARACTERS] for text in chunk[: SAMPLE_TEXTS - len(sample)]]
        counts += np.bincount(np.concatenate(tokenizer.encode(chunk)), minlength=rows)
    return _Corpus(counts, total, tuple(sample))


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
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


def _always(vocabulary: Vocabulary, config: Mapping[str, Any]) -> set[int]:
    """What stays whatever the texts say."""
    named = set(_token_ids(config))
    strangers = named - vocabulary.ids
    if strangers:
        raise CheckpointError(f"config.json names token id {min(strangers)}, which tokenizer.json does not have")
    # RoBERTa's positions begin after the padding id, which therefore may not move.
    padding = config.get("pad_token_id")
    before = {i for i in vocabulary.ids if isinstance(padding, int) and i < padding}
    return before | named | vocabulary.fixed


def _token_ids(config: Mapping[str, Any]) -> Iterator[int]:
    for key, value in config.items():
        if key.endswith("_token_id") and value is not None:
            yield from value if isinstance(value, list) else [value]


def _kept(
    vocabulary: Vocabulary,
    always: set[int],
    wanted: set[int],
    counts: NDArray[np.int64],
    min_count: int,
    rows: int | None,
) -> list[int]:
    """The ids to keep, in order; where `rows` bounds them, frequent ones before others and then lower ids first."""
    often = set(np.flatnonzero(counts >= max(min_count, 1)).tolist())
    total = int(counts.sum())

    def frequency(i: int) -> float:
        expected = total * math.exp(float(vocabulary.scores[i])) if i in wanted and vocabulary.scores else 0.0
        return float(counts[i]) + expected

    free = sorted((often | wanted) - always - vocabulary.forbidden, key=lambda i: (-frequency(i), i))
    if rows is not None:
        if rows < len(always):
            raise InputError(
                f"{rows:,} rows are too few: special tokens and single characters alone are {len(always):,}"
            )
        free = free[: rows - len(always)]
    return sorted(always.union(free))


def _proof(
    tokenizer: Tokenizer, vocabulary: Vocabulary, text: str, sample: Sequence[str], new_ids: Mapping[int, int]
) -> int:
    """How many texts of the sample had all their pieces kept.

    CheckpointError where the new tokenizer.json does not give each piece its id, or cuts up one of those texts
    otherwise than the old one.
    """
    raw = tokenizers.Tokenizer.from_str(text)
    wanted = {piece: new_ids[i] for i, piece in vocabulary.pieces.items() if i in new_ids}
    wanted |= {token: new_ids[i] for token, i in vocabulary.added.items()}
    same = raw.get_vocab(with_added_tokens=True) == wanted
    trimmed = Tokenizer(raw)
    whole = 0
    for old, new in zip(tokenizer.encode(sample), trimmed.encode(sample), strict=True):
        ids = [new_ids.get(i) for i in old.tolist()]
        if None not in ids:
            whole += 1
            same = same and new.tolist() == ids
    if not same:
        raise CheckpointError(
            f"with fewer pieces tokenizers {tokenizers.__version__} numbers them, or cuts up a text whose pieces are "
            "all there, otherwise than before, and scores would change; this tokenizer cannot be trimmed"
        )
    return whole


def _sides(
    folder: Path, config: Mapping[str, Any], vocabulary: Vocabulary, new_ids: Mapping[int, int]
) -> dict[str, str]:
    """The files beside weights and tokenizer.json that speak of ids or pieces, with the new ones."""

    def new(i: int, file: str) -> int:
        if i not in new_ids:
            raise CheckpointError(f"{folder / file} names token id {i}, which tokenizer.json does not have")
        return new_ids[i]

    files = {"config.json": _dumped(_renumbered(config, new_ids) | {"vocab_size": len(new_ids)})}
    if (path := folder / "tokenizer_config.json").is_file():
        settings = json.loads(path.read_text(encoding="utf-8"))
        if decoder := settings.get("added_tokens_decoder"):
            settings["added_tokens_decoder"] = {str(new(int(i), path.name)): token for i, token in decoder.items()}
        files[path.name] = _dumped(settings)
    if (path := folder / "added_tokens.json").is_file():
        added = json.loads(path.read_text(encoding="utf-8"))
        files[path.name] = _dumped({token: new(i, path.name) for token, i in added.items()})
    if (folder / "vocab.txt").is_file():
        lines = [piece for i, piece in vocabulary.pieces.items() if i in new_ids]
        files["vocab.txt"] = "".join(f"{piece}\n" for piece in lines)
    return files


def _renumbered(config: Mapping[str, Any], new_ids: Mapping[int, int]) -> dict[str, Any]:
    """config.json with new ids under every key that ends in _token_id, whether it holds one or a list."""
    changed = dict(config)
    for key, value in config.items():
        if key.endswith("_token_id") and value is not None:
            changed[key] = [new_ids[i] for i in value] if isinstance(value, list) else new_ids[value]
    return changed


def _dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def _write(
    folder: Path, out: Path, tensors: Mapping[str, Tensor], sides: Mapping[str, str], copied: Sequence[str]
) -> None:
    """All of it, or nothing: a folder beside `out` takes its name when it is whole."""
    half = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        half.mkdir(parents=True)
        for name in copied:
            shutil.copyfile(folder / name, half / name)
        for name, text in sides.items():
            (half / name).write_text(text, encoding="utf-8")
        weights = half / "model.safetensors"
        save_file(dict(tensors), weights, metadata={"format": "pt"})
        weights.chmod((half / "config.json").stat().st_mode)  # safetensors lets only the owner read what it writes
        os.rename(half, out)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{out} cannot be written: {getattr(error, 'strerror', None) or error}") from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
