"""Systems that rerank, side by side: a model at a dtype, a peer, or a run that somebody else made.

NAME[@DTYPE]            a crossrank model: bundled, a folder, or a hub name; mini-en@int8
biencoder:FOLDER        a sentence-transformers embedding model, by cosine
crossencoder:FOLDER     any sentence-transformers CrossEncoder
flashrank:FOLDER        a FlashRank model's folder, named as FlashRank names it
run:FILE                a TREC run, taken as it is
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from crossrank.calibration import files_hash
from crossrank.errors import InputError
from crossrank.hub import find
from crossrank.reranker import Reranker
from crossrank.scorer import DTYPES
from crossrank.windows import Limits

__all__ = ["Judged", "System", "open_system"]


@dataclass(frozen=True, slots=True)
class Judged:
    """Scores of one query's candidates, in their order, and the tokens that the model read for them, where known."""

    scores: list[float]
    tokens: int | None = None


Judge = Callable[[str, Sequence[str]], Judged]
Loaded = tuple[Judge, float]


@dataclass(frozen=True, slots=True)
class System:
    """Something that scores documents for a query.

    key: what decides its scores, for telling interrupted work apart. scale: what its scores are. load: given every
    text that will be asked about, returns the function that scores, and the seconds that it worked on the texts
    already; only then is a model read, which does not count. run: the file of a system that is a run already.
    """

    name: str
    key: str
    scale: str
    card: dict[str, object]
    load: Callable[[Sequence[str]], Loaded] | None
    run: Path | None = field(default=None)


def open_system(spec: str, *, device: str | None = None, limits: Limits | None = None) -> System:
    """Read a system's name as above. Files are hashed, models are not loaded yet. InputError or ModelNotFound."""
    from crossrank.evaluate import baselines

    kind, colon, rest = spec.partition(":")
    if colon and kind == "run":
        path = Path(rest)
        if not path.is_file():
            raise InputError(f"system {spec!r}: no such run file")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return System(path.name, digest, "score", {"kind": "run", "file": rest, "sha256": digest}, None, path)
    if colon and kind in baselines.KINDS:
        folder = Path(rest).expanduser()
        if not folder.is_dir():
            raise InputError(f"system {spec!r}: {rest!r} is not a folder; a baseline's model must be here already")
        return baselines.KINDS[kind](folder)
    return _crossrank(spec, device, limits or Limits())


def _crossrank(spec: str, device: str | None, limits: Limits) -> System:
    name, at, dtype = spec.rpartition("@")
    if not at or dtype not in DTYPES:
        if at and not Path(spec).exists():
            raise InputError(f"system {spec!r}: dtype {dtype!r} is not one of {', '.join(DTYPES)}")
        name, dtype = spec, ""
    folder = find(name)
    digest = files_hash(folder)
    card: dict[str, object] = {"kind": "crossrank", "folder": str(folder), "sha256": digest, "limits": asdict(limits)}

    def load(texts: Sequence[str]) -> Loaded:
        reranker = Reranker.load(folder, device=device, dtype=dtype or None, limits=limits)

        def judge(query: str, documents: Sequence[str]) -> Judged:
            ranking = reranker.rank(query, documents)
            scores = [0.0] * len(documents)
            for hit in ranking:
                scores[hit.index] = hit.logit
            return Judged(scores, ranking.usage.total_tokens)

        return judge, 0.0

    from crossrank import __version__

    # The budget is left out: it decides speed, and scores only within rounding.
    key = f"crossrank {__version__} {digest} {dtype} {device} {limits.max_length} {limits.max_query} {limits.overlap}"
    label = f"{Path(name).name} {dtype or 'default'}".removesuffix(" default")
    return System(label, key, "logit", card | {"dtype": dtype or "default", "device": device or "default"}, load)
