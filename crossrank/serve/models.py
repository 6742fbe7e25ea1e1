"""Names -> loaded models, each with its batcher. Loaded in the background at the start, or at a first request."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass

from crossrank.hub import find
from crossrank.inputs import Text
from crossrank.reranker import Reranker
from crossrank.serve.batcher import Batcher
from crossrank.serve.metrics import Metrics
from crossrank.serve.options import ServeOptions, Source
from crossrank.serve.problems import Problem

__all__ = ["Loaded", "Models", "Served"]

# Before any text has been counted: what English has, on the safe side.
CHARACTERS_PER_TOKEN = 3.0
# Beyond these a text is no text, or was not read to its end.
FEWEST, MOST = 0.5, 10.0
WARM_UP_WORDS = "a quick brown fox jumps over the lazy dog near the river bank".split()

log = logging.getLogger("crossrank.serve")


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A model that answers."""

    reranker: Reranker
    batcher: Batcher


class Served:
    """A model by its name. error: why it could not be loaded. characters_per_token: as met so far."""

    def __init__(self, source: Source) -> None:
        self.name = source.name
        self.source = source
        self.loaded: Loaded | None = None
        self.error: Exception | None = None
        self.loading: asyncio.Task[Loaded] | None = None
        self.created = int(time.time())
        self.characters_per_token = CHARACTERS_PER_TOKEN

    def met(self, characters: int, tokens: int) -> None:
        """Learn from a request how many characters a token has."""
        if tokens > 50:
            ratio = min(max(characters / tokens, FEWEST), MOST)
            self.characters_per_token += 0.1 * (ratio - self.characters_per_token)

    def most_characters(self, tokens: int) -> int:
        """How many characters of a text can matter where so many tokens of it are read."""
        return int(tokens * self.characters_per_token)


class Models:
    """The models of a server."""

    def __init__(self, options: ServeOptions, metrics: Metrics) -> None:
        self.options = options
        self.metrics = metrics
        self.served = {source.name: Served(source) for source in options.sources}

    def check(self) -> None:
        """Find every model's folder, so that a wrong name ends the start and not the first request."""
        for served in self.served.values():
            find(served.source.folder)

    @property
    def ready(self) -> bool:
        """Whether every model that should be loaded is, and every loaded one's worker lives."""
        for served in self.served.values():
            if served.error or (served.loaded and not served.loaded.batcher.alive):
                return False
            if not served.loaded and not self.options.lazy:
                return False
        return True

    @property
    def alive(self) -> bool:
        """Whether no loaded model's worker has died."""
        return all(one.loaded.batcher.dead is None for one in self.served.values() if one.loaded)

    async def load_all(self) -> None:
        """Load every model, one after another; an error of one is raised."""
        for served in self.served.values():
            await self.load(served)

    def pick(self, name: str | None) -> Served:
        """The model of this name; the first where no name is given, or where only one is there and any name will do."""
        if name is None or name == "":
            return next(iter(self.served.values()))
        if name in self.served:
            return self.served[name]
        short = [served for served in self.served.values() if served.name.rpartition("/")[2] == name.rpartition("/")[2]]
        if len(short) == 1:
            return short[0]
        if len(self.served) == 1 and self.options.any_model:
            return next(iter(self.served.values()))
        raise Problem("model", f"Model {name[:100]!r} not found. Available models: {', '.join(self.served)}")

    async def load(self, served: Served) -> Loaded:
        """The model, loaded if it is not yet. Others who ask meanwhile wait for the same load."""
        if served.loaded:
            return served.loaded
        if served.loading is None:
            served.loading = asyncio.create_task(asyncio.to_thread(self._load, served))
        try:
            # A client that leaves must not stop a load that others wait for.
            served.loaded = await asyncio.shield(served.loading)
        except Exception as error:
            served.error, served.loading = error, None
            raise
        served.error = None
        return served.loaded

    async def close(self) -> None:
        """End every worker."""
        for served in self.served.values():
            if served.loaded:
                await asyncio.to_thread(served.loaded.batcher.close)

    def _load(self, served: Served) -> Loaded:
        start = time.monotonic()
        source = served.source
        reranker = Reranker.load(source.folder, device=source.device, dtype=source.dtype, limits=self.options.limits)
        budget = reranker.scorer.budget
        batcher = Batcher(
            reranker.scorer.logits,
            budget,
            reranker.prepare(Text("a"), [Text("a")]).sequences[0],
            max_tokens=self.options.max_queue_tokens,
            max_jobs=self.options.max_concurrent_requests,
            seen=self.metrics.counter(served.name, budget),
            name=served.name,
        )
        # Twice a full batch: the first pays for what torch sets up, the second is the first measure of speed. Each text
        # is another, for equal sequences are computed once.
        chance = random.Random(0)
        texts = [Text(" ".join(chance.choices(WARM_UP_WORDS, k=100))) for _ in range(max(1, budget // 100))]
        sequences = reranker.prepare(Text("a fox by the river"), texts).sequences
        for _ in range(2):
            batcher.speed = 0.0
            job = batcher.admit(0, deadline=time.monotonic() + 600)
            batcher.enter(job, sequences).result()
        self.metrics.watch(served.name, batcher)
        log.info(
            "model loaded",
            extra={"event": "model_loaded", "model": served.name, "seconds": round(time.monotonic() - start, 2)},
        )
        return Loaded(reranker=reranker, batcher=batcher)
