"""Every text's tokens, what the teachers make of it, and each query's candidates, in one file.

    python library.py --model FOLDER --texts work/wide --vectors work/vectors/* --out work/library.pt --device cuda

A text has one number over all sources. A query has COLUMNS candidates: its answers where they are known, what the
teachers and BM25 take for answers, some further down, and chance.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parents[1] / "dual"))
from blend import listwise
from lists import HELD_OUT
from measures import ndcg
from states import framed
from texts import names, read

from crossrank.batch import Packed
from crossrank.checkpoint import Checkpoint, read_checkpoint
from crossrank.models.dual import LENGTH_SHARE, SATURATION

MOST = 128, 224  # tokens that are kept of a query, of a document
# Candidates: answers, the best of the teachers, of BM25, of the teachers' first DEEPEST, of all.
ANSWERS, DENSE, LEXICAL, DEEPER, CHANCE = 4, 8, 7, 3, 2
COLUMNS = ANSWERS + DENSE + LEXICAL + DEEPER + CHANCE
DEEPEST = 64
AT_ONCE = 256  # queries
FITTED = 500  # lists of a source, to which counts are fitted
JUDGED = 40  # of the lists of a source that are kept from training


@dataclass(frozen=True, eq=False)
class Shelf:
    """One source: its queries are texts `first` to `documents`, its documents up to `end`.

    labelled: whether its answers are known to be answers. unseen: whether it is kept from training.
    """

    name: str
    first: int
    documents: int
    end: int
    labelled: bool
    unseen: bool

    def __len__(self) -> int:
        return self.documents - self.first

    @property
    def held_out(self) -> int:
        """How many of the first queries are never trained on."""
        if self.unseen:
            return len(self)
        return min(HELD_OUT, len(self) // 5) if self.labelled else 0


@dataclass(eq=False)
class Library:
    """All texts. Text i is tokens[starts[i]:starts[i] + lengths[i]]; host, offsets: tokens and starts off the device.

    closing: the token that ends a text. vectors: of each teacher, [texts, width] in fp16, each a row of unit length.
    counts: of each teacher's cosine in their sum.

    columns, label, shown: of each text that is a query, its candidates, which of them answer, which are no repetition.
    """

    shelves: list[Shelf]
    tokens: Tensor
    starts: Tensor
    offsets: np.ndarray
    lengths: np.ndarray
    host: np.ndarray
    closing: int
    vectors: list[Tensor]
    counts: Tensor
    columns: np.ndarray
    label: np.ndarray
    shown: np.ndarray

    def text(self, number: int) -> np.ndarray:
        """A text's tokens without what frames them."""
        start = self.offsets[number]
        return self.host[start + 1 : start + self.lengths[number] - 1]

    def dense(self, queries: Tensor, documents: Tensor) -> Tensor:
        """The teachers' sum for each query with each document, [queries, documents]."""
        return sum(  # type: ignore[return-value]
            count * (each[queries].float() @ each[documents].float().mT)
            for count, each in zip(self.counts, self.vectors, strict=True)
        )

    def to(self, device: torch.device) -> Library:
        """The same library, where the vectors and tokens are on `device`."""
        moved = {name: getattr(self, name).to(device) for name in ("tokens", "starts", "counts")}
        return replace(self, **moved, vectors=[each.to(device) for each in self.vectors])

    def packed(self, numbers: np.ndarray, most: int) -> Packed:
        """Texts as sequences of at most `most` tokens each."""
        device = self.tokens.device
        lengths = np.minimum(self.lengths[numbers], most)
        bounds = bounds_of(lengths, device)
        places, positions = runs(self.starts[torch.from_numpy(numbers).to(device)], bounds)
        tokens = self.tokens[places]
        tokens[bounds[1:] - 1] = self.closing
        counts = tuple(lengths.tolist())
        types = torch.zeros_like(tokens)
        return Packed(tokens=tokens, positions=positions, types=types, bounds=bounds, lengths=counts, splits=counts)


def bounds_of(lengths: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.concatenate([[0], lengths]).cumsum().astype(np.int32)).to(device)


def runs(starts: Tensor, bounds: Tensor) -> tuple[Tensor, Tensor]:
    """Places of so many runs of neighbours, one after another, and the position of each place in its run."""
    lengths = bounds.diff().long()
    total = int(bounds[-1])
    positions = torch.arange(total, device=bounds.device) - bounds[:-1].repeat_interleave(lengths, output_size=total)
    return starts.repeat_interleave(lengths, output_size=total) + positions, positions


def padded(states: Tensor, bounds: Tensor, lengths: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """[sequences, longest, width], and where there is a token, [sequences, longest]."""
    there = torch.arange(max(lengths), device=states.device) < bounds.diff()[:, None]
    places = (bounds[:-1, None] + torch.arange(max(lengths), device=states.device)).clamp(max=len(states) - 1)
    return states[places], there


def paired(tokens: Tensor, lengths: np.ndarray, splits: np.ndarray) -> Packed:
    """Tokens of pairs, one after another, as a batch; the second side of each begins at its split."""
    bounds = bounds_of(lengths, tokens.device)
    _, positions = runs(bounds[:-1].long(), bounds)
    split = torch.from_numpy(splits).to(tokens.device).repeat_interleave(bounds.diff().long(), output_size=len(tokens))
    return Packed(
        tokens=tokens,
        positions=positions,
        types=(positions >= split).long(),
        bounds=bounds,
        lengths=tuple(lengths.tolist()),
        splits=tuple(splits.tolist()),
    )


def bm25(documents: Sequence[np.ndarray], pieces: int, device: torch.device) -> Tensor:
    """BM25's weight of each piece in each document, sparse, [documents, pieces]."""
    rows = torch.from_numpy(np.repeat(np.arange(len(documents)), [len(each) for each in documents])).to(device)
    columns = torch.from_numpy(np.concatenate(documents).astype(np.int64)).to(device)
    ones = torch.ones(len(rows), device=device)
    shape = len(documents), pieces
    found = torch.sparse_coo_tensor(torch.stack([rows, columns]), ones, shape, check_invariants=True).coalesce()
    (row, column), often = found.indices(), found.values()
    length = torch.bincount(rows, minlength=len(documents)).float()
    held = torch.bincount(column, minlength=pieces).float()
    rarity = ((len(documents) - held + 0.5) / (held + 0.5)).log1p()
    room = SATURATION * (1 - LENGTH_SHARE + LENGTH_SHARE * length / length.mean())
    weight = rarity[column] * often / (often + room[row])
    return torch.sparse_coo_tensor(found.indices(), weight, shape, check_invariants=True).coalesce()


@torch.no_grad()
def choose(library: Library, shelf: Shelf, positives: list[list[int]], pieces: int, rng: np.random.Generator) -> None:
    """Fill in the candidates of one source's queries; `positives` are numbers of its documents."""
    device = library.tokens.device
    count = shelf.end - shelf.documents
    weights = bm25([library.text(number) for number in range(shelf.documents, shelf.end)], pieces, device)
    documents = torch.arange(shelf.documents, shelf.end, device=device)
    for begin in range(shelf.first, shelf.documents, AT_ONCE):
        span = slice(begin, min(begin + AT_ONCE, shelf.documents))
        queries = np.arange(span.start, span.stop)
        best = library.dense(torch.from_numpy(queries).to(device), documents).topk(min(DEEPEST, count)).indices
        texts = [library.text(number) for number in queries]
        rows = np.repeat(np.arange(len(queries)), [len(text) for text in texts])
        asked = torch.zeros(pieces, len(queries), device=device)
        asked[torch.from_numpy(np.concatenate(texts)).to(device), torch.from_numpy(rows).to(device)] = 1
        words = (weights @ asked).mT.topk(min(LEXICAL, count)).indices
        known = [positives[number - shelf.first] for number in queries]
        right = np.full((len(queries), max(ANSWERS, *map(len, known))), -1)
        for row, numbers in zip(right, known, strict=True):
            row[: len(numbers)] = numbers
        near = best.cpu().numpy()
        deeper = np.take_along_axis(near, rng.integers(near.shape[1], size=(len(queries), DEEPER)), 1)
        chance = rng.integers(count, size=(len(queries), CHANCE))
        found = np.concatenate([right[:, :ANSWERS], near[:, :DENSE], words.cpu().numpy(), deeper, chance], 1)
        found = np.pad(found, ((0, 0), (0, COLUMNS - found.shape[1])), constant_values=-1)
        earlier = np.tril(found[:, :, None] == found[:, None], -1).any(2)
        library.shown[span] = (found >= 0) & ~earlier
        library.columns[span] = np.maximum(found, 0) + shelf.documents
        library.label[span] = (found[:, :, None] == right[:, None]).any(2) & library.shown[span] & shelf.labelled


def fitted(opinions: list[Tensor], label: list[Tensor], prior: Tensor, steps: int = 300) -> Tensor:
    """What each opinion counts by the labels of all sources alike; `opinions` are [queries, columns, opinions] each."""
    shift = torch.zeros_like(prior, requires_grad=True)
    optimizer = torch.optim.Adam([shift], lr=0.05)
    with torch.enable_grad():
        for _ in range(steps):
            counts = prior * shift.exp()
            losses = [listwise((o * counts).sum(2), answers) for o, answers in zip(opinions, label, strict=True)]
            optimizer.zero_grad()
            (torch.stack(losses).mean() + 2e-3 * shift.square().sum()).backward()
            optimizer.step()
    return (prior * shift.exp()).detach()


def make(
    checkpoint: Checkpoint,
    texts: Path,
    vectors: Sequence[Path],
    unseen: Sequence[str],
    device: torch.device,
) -> Library:
    """Read all texts, and choose candidates.

    Teachers count alike: each by how far its cosines lie apart within a list. What all count is fitted to labels.
    """
    shelves, positives, rows, at = [], [], [], 0
    for name in names(texts):
        source = read(texts, name)
        rows += framed(checkpoint, source.queries, 0, MOST[0]) + framed(checkpoint, source.documents, 1, MOST[1])
        middle, end = at + len(source.queries), at + len(source.queries) + len(source.documents)
        shelves.append(Shelf(name, at, middle, end, name.startswith("en_"), name in unseen))
        positives.append(source.positives)
        at = end
    lengths = np.array([len(row) for row in rows])
    offsets = np.cumsum([0, *lengths[:-1]])
    host = np.concatenate(rows).astype(np.int64)
    read_in = [torch.from_numpy(np.concatenate([np.load(f / f"{s.name}.npy") for s in shelves])) for f in vectors]
    library = Library(
        shelves=shelves,
        tokens=torch.from_numpy(host).to(device),
        starts=torch.from_numpy(offsets).to(device),
        host=host,
        offsets=offsets,
        lengths=lengths,
        closing=int(host[-1]),
        vectors=[each.to(device) for each in read_in],
        counts=torch.ones(len(vectors), device=device),
        columns=np.zeros((at, COLUMNS), dtype=np.int64),
        label=np.zeros((at, COLUMNS), dtype=bool),
        shown=np.zeros((at, COLUMNS), dtype=bool),
    )
    library.counts = 1 / spread(library)
    rng = np.random.default_rng(7)
    for shelf, known in zip(shelves, positives, strict=True):
        choose(library, shelf, known, checkpoint.tokenizer.size, rng)
    sums, labels = [], []
    for numbers in taught(library, FITTED):
        sums.append(near(library, numbers, library.columns[numbers])[:, :, None])
        labels.append(torch.from_numpy(library.label[numbers]).to(device))
    library.counts *= fitted(sums, labels, torch.ones(1, device=device))
    return library


def spread(library: Library) -> Tensor:
    """How far each teacher's cosines of one query's nearest documents lie apart: their deviation, sources alike."""
    device, found = library.tokens.device, []
    for shelf in library.shelves:
        queries = torch.arange(shelf.first, min(shelf.first + AT_ONCE, shelf.documents), device=device)
        documents = torch.arange(shelf.documents, min(shelf.documents + 4096, shelf.end), device=device)
        cosines = [each[queries].float() @ each[documents].float().mT for each in library.vectors]
        found.append(torch.stack([each.topk(min(DEEPEST, len(documents)), 1).values.std(1).mean() for each in cosines]))
    return torch.stack(found).mean(0)


def taught(library: Library, most: int) -> list[np.ndarray]:
    """Queries of each source whose labels may be learned from, at most so many."""
    shelves = [shelf for shelf in library.shelves if shelf.labelled and not shelf.unseen]
    return [np.arange(shelf.first + shelf.held_out, shelf.documents)[:most] for shelf in shelves]


def kept_back(library: Library) -> Iterator[tuple[Shelf, np.ndarray]]:
    """Each labelled source, and queries of it that training does not see."""
    for shelf in library.shelves:
        numbers = np.arange(shelf.first, shelf.first + min(JUDGED, shelf.held_out))
        numbers = numbers[library.label[numbers].any(1)]
        if len(numbers):
            yield shelf, numbers


def ndcgs(library: Library, numbers: np.ndarray, ways: list[Tensor]) -> np.ndarray:
    """Mean nDCG@10 of each way to score all candidates of these queries, [queries, columns] each."""
    shown, label = library.shown[numbers], library.label[numbers]
    kept = [way.float().cpu().numpy() for way in ways]
    values = [[ndcg(way[i][shown[i]], label[i][shown[i]]) for way in kept] for i in range(len(numbers))]
    return np.mean(values, axis=0)


def near(library: Library, queries: np.ndarray, documents: np.ndarray) -> Tensor:
    """The teachers' sum for each query with its own documents, [queries, documents]."""
    device = library.tokens.device
    asked, shown = (torch.from_numpy(each).to(device) for each in (queries, documents))
    parts = [(each[asked].float()[:, None] * each[shown].float()).sum(2) for each in library.vectors]
    return (torch.stack(parts, 2) * library.counts).sum(2)


def load(path: Path, device: torch.device) -> Library:
    """What `save` wrote."""
    kept = torch.load(path, weights_only=False, mmap=True)
    shelves = [Shelf(**shelf) for shelf in kept.pop("shelves")]
    return Library(shelves=shelves, **kept).to(device)


def save(library: Library, path: Path) -> None:
    """Names and numbers alone, so that what reads it need not be this script."""
    kept = {each.name: getattr(library, each.name) for each in fields(library)}
    partial = path.with_suffix(".partial")
    torch.save(kept | {"shelves": [asdict(shelf) for shelf in library.shelves]}, partial)
    partial.rename(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--model", type=Path, required=True, help="folder of mini-en as it is so far, for its tokenizer"
    )
    parser.add_argument("--texts", type=Path, required=True, help="folder that ../dual/texts.py wrote")
    parser.add_argument("--vectors", type=Path, nargs="+", required=True, help="folders that vectors.py wrote")
    parser.add_argument("--unseen", nargs="*", default=[], help="sources to be kept from training")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    begin = time.perf_counter()
    checkpoint = read_checkpoint(options.model)
    library = make(checkpoint, options.texts, options.vectors, options.unseen, torch.device(options.device))
    queries = sum(len(shelf) for shelf in library.shelves)
    told = " ".join(f"{count:.1f}" for count in library.counts.tolist())
    print(f"{len(library.lengths)} texts, {queries} queries, {library.lengths.sum()} tokens; teachers count {told}")
    save(library.to(torch.device("cpu")), options.out)
    print(f"{time.perf_counter() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
