"""tokenizer.json as data: its pieces by id, which of them may not go, and the file again with fewer of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers

from crossrank.errors import CheckpointError

__all__ = ["Vocabulary", "read_vocabulary", "rewritten"]

KINDS = ("Unigram", "WordPiece")
HOLDER = "the vocabulary goes here"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Vocabulary:
    """What a tokenizer.json of Unigram or WordPiece holds.

    content: the file. pieces: the model's, by id, in order. added: the ids of added tokens, many of them pieces too.
    prefix: what a WordPiece that continues a word begins with. fixed: ids that every smaller vocabulary has too.
    forbidden: ids that none may have, lest a word that was unknown be spelled. scores: Unigram's, as they are written.
    """

    content: dict[str, Any]
    pieces: dict[int, str]
    added: dict[str, int]
    prefix: str
    fixed: frozenset[int]
    forbidden: frozenset[int]
    scores: tuple[str, ...]

    @property
    def ids(self) -> set[int]:
        return {*self.pieces, *self.added.values()}

    def spelled(self, piece: str) -> str:
        """A piece without the mark that it continues a word."""
        return piece.removeprefix(self.prefix) if len(piece) > len(self.prefix) else piece


def read_vocabulary(path: Path) -> Vocabulary:
    """Read a tokenizer.json. CheckpointError where there is none, or its model is of another kind."""
    if not path.is_file():
        raise CheckpointError(f"{path.parent} lacks tokenizer.json; trim rewrites that file and no other tokenizer")
    text = path.read_text(encoding="utf-8")
    try:
        content = json.loads(text)
        kind = content["model"]["type"]
        raw = tokenizers.Tokenizer.from_str(text)
    except Exception as error:  # the bindings raise bare Exception
        raise CheckpointError(f"{path} cannot be read by tokenizers {tokenizers.__version__}: {error}") from error
    if kind not in KINDS:
        why = "; its merges build on one another, so that none can go without others" if kind == "BPE" else ""
        raise CheckpointError(f"{path} is a {kind} tokenizer; trim knows Unigram and WordPiece{why}")
    model = content["model"]
    numbers = raw.get_vocab(with_added_tokens=True)
    added = {token["content"]: numbers[token["content"]] for token in content["added_tokens"]}
    named = {*added.values(), *_ids_in(content.get("post_processor"))}
    named |= {content["padding"]["pad_id"]} if content.get("padding") else set()
    if kind == "Unigram":
        pieces = dict(enumerate(piece for piece, _ in model["vocab"]))
        # Read and written again, a number might come out as another spelling that a parser rounds otherwise.
        scores = tuple(score for _, score in json.loads(text, parse_float=str, parse_int=str)["model"]["vocab"])
        prefix, forbidden = "", frozenset[int]()
        fixed = _fixed_unigram(model)
    else:
        pieces = {i: piece for piece, i in sorted(model["vocab"].items(), key=lambda item: item[1])}
        scores, prefix = (), model["continuing_subword_prefix"]
        forbidden = _unspellable(pieces, prefix)
        fixed = {i for i, piece in pieces.items() if len(piece.removeprefix(prefix)) == 1 or len(piece) == 1}
        fixed |= {i for i, piece in pieces.items() if piece == model["unk_token"]}
    if len(set(pieces.values())) < len(pieces):
        raise CheckpointError(f"{path} has the same piece twice; which of the two a text gets is not defined")
    return Vocabulary(
        content=content,
        pieces=pieces,
        added=added,
        prefix=prefix,
        fixed=frozenset(fixed | named),
        forbidden=frozenset(forbidden - fixed - named),
        scores=scores,
    )


def _fixed_unigram(model: Mapping[str, Any]) -> set[int]:
    """Single characters, bytes, the unknown piece, and one with the lowest score: it sets what the unknown costs."""
    scores = [score for _, score in model["vocab"]]
    fixed = {i for i, (piece, _) in enumerate(model["vocab"]) if len(piece) == 1}
    if model.get("byte_fallback"):
        single = {f"<0x{byte:02X}>" for byte in range(256)}
        fixed |= {i for i, (piece, _) in enumerate(model["vocab"]) if piece in single}
    if model.get("unk_id") is not None:
        fixed.add(model["unk_id"])
    return fixed | {scores.index(min(scores))}


def _unspellable(pieces: Mapping[int, str], prefix: str) -> frozenset[int]:
    """WordPieces with a character past their start that no piece of its own continues a word with.

    At such a character a word is given up on, unless one of these pieces covers it. Were some kept and others not, a
    word that was unknown before could be spelled afterwards.
    """
    alone = {piece.removeprefix(prefix) for piece in pieces.values() if piece.startswith(prefix)}
    found = []
    for i, piece in pieces.items():
        later = piece.removeprefix(prefix) if piece.startswith(prefix) else piece[1:]
        if any(character not in alone for character in later):
            found.append(i)
    return frozenset(found)


def rewritten(vocabulary: Vocabulary, new_ids: Mapping[int, int]) -> str:
    """tokenizer.json with the pieces in `new_ids` (old id -> new), in that order, and every id in it the new one.

    Normalizer, pre-tokenizer and decoder stay as they are.
    """
    content = dict(vocabulary.content)
    model = dict(content["model"])
    kept = [i for i in vocabulary.pieces if i in new_ids]
    if vocabulary.scores:
        if model.get("unk_id") is not None:
            model["unk_id"] = new_ids[model["unk_id"]]
        items = [f"[{_quoted(vocabulary.pieces[i])},{vocabulary.scores[i]}]" for i in kept]
        vocab = f"[{','.join(items)}]"
    else:
        vocab = f"{{{','.join(f'{_quoted(vocabulary.pieces[i])}:{new_ids[i]}' for i in kept)}}}"
    content["model"] = model | {"vocab": HOLDER}
    content["added_tokens"] = [
        token | {"id": new_ids[vocabulary.added[token["content"]]]} for token in content["added_tokens"]
    ]
    if content.get("padding"):
        content["padding"] = content["padding"] | {"pad_id": new_ids[content["padding"]["pad_id"]]}
    if content.get("post_processor"):
        content["post_processor"] = _renumbered(content["post_processor"], new_ids)
    return json.dumps(content, ensure_ascii=False).replace(_quoted(HOLDER), vocab, 1) + "\n"


def _ids_in(processor: Mapping[str, Any] | None) -> set[int]:
    """The ids that a post-processor puts round a text. CheckpointError for a kind that may keep them elsewhere."""
    match processor:
        case None | {"type": "ByteLevel"}:
            return set()
        case {"type": "TemplateProcessing", "special_tokens": tokens}:
            return {i for token in tokens.values() for i in token["ids"]}
        case {"type": "BertProcessing" | "RobertaProcessing", "sep": [_, sep], "cls": [_, cls]}:
            return {sep, cls}
        case {"type": "Sequence", "processors": processors}:
            return set().union(*map(_ids_in, processors))
    raise CheckpointError(f"tokenizer.json has a post_processor of type {processor['type']!r}; trim does not know it")


def _renumbered(processor: Mapping[str, Any], new_ids: Mapping[int, int]) -> dict[str, Any]:
    """The post-processor with new ids in the places where _ids_in found them."""
    match processor["type"]:
        case "TemplateProcessing":
            tokens = {
                name: token | {"ids": [new_ids[i] for i in token["ids"]]}
                for name, token in processor["special_tokens"].items()
            }
            return {**processor, "special_tokens": tokens}
        case "BertProcessing" | "RobertaProcessing":
            return {
                **processor,
                **{place: [processor[place][0], new_ids[processor[place][1]]] for place in ("sep", "cls")},
            }
        case "Sequence":
            return {**processor, "processors": [_renumbered(each, new_ids) for each in processor["processors"]]}
    return dict(processor)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
