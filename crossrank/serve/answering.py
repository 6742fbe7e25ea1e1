"""Ask -> Answer: a place in the queue first, then tokens in a thread, batches shared with others, and the ranking."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from crossrank.errors import CrossrankError
from crossrank.inputs import Text
from crossrank.ranking import Ranking
from crossrank.reranker import Prepared, Reranker
from crossrank.serve.asking import Answer, Ask, Timing
from crossrank.serve.batcher import Job
from crossrank.serve.models import Loaded, Models, Served
from crossrank.serve.options import ServeOptions
from crossrank.serve.problems import Problem, field_problem

__all__ = ["Answering"]

# Tokenizers release the interpreter, so two overlap with compute without crowding it.
TOKENIZING_THREADS = 2
# Documents tokenized at a stretch: a small request waits for a stretch of a large one, not for all of it.
STRETCH = 64


class Answering:
    """Answers requests with the models it was given."""

    def __init__(self, models: Models, options: ServeOptions) -> None:
        self.models = models
        self.options = options
        self.tokenizing = ThreadPoolExecutor(TOKENIZING_THREADS, thread_name_prefix="tokens")
        # Not the same threads: an answer that is all but done should not wait for newcomers' tokens.
        self.ranking = ThreadPoolExecutor(TOKENIZING_THREADS, thread_name_prefix="rankings")

    def close(self) -> None:
        """Let the threads go."""
        for threads in (self.tokenizing, self.ranking):
            threads.shutdown(wait=False, cancel_futures=True)

    async def answer(self, ask: Ask, *, id: str, deadline: float, charge: Callable[[int], None]) -> Answer:
        """The answer, or a Problem by `deadline` (time.monotonic). `charge` is told the tokens once they are counted.

        Cancelling this call takes what has not run out of the queue.
        """
        start = time.monotonic()
        if ask.count > self.options.max_documents:
            raise Problem("documents", f"{ask.count} documents; this server takes {self.options.max_documents} at once")
        served = self.models.pick(ask.model)
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + deadline - start):
                loaded = await self._loaded(served)
                return await self._answer(ask, served, loaded, id=id, start=start, deadline=deadline, charge=charge)
        except TimeoutError as error:
            raise Problem("deadline", f"no answer within {deadline - start:.1f} seconds", retry_after=1) from error

    async def _answer(
        self,
        ask: Ask,
        served: Served,
        loaded: Loaded,
        *,
        id: str,
        start: float,
        deadline: float,
        charge: Callable[[int], None],
    ) -> Answer:
        loop, begun = asyncio.get_running_loop(), time.monotonic()
        reranker, batcher = loaded.reranker, loaded.batcher
        most = served.most_characters
        cut_at = None if ask.document_tokens is None else most(ask.document_tokens)
        characters = ask.characters(most(reranker.limits.max_query or 0), cut_at)
        estimate = int(characters / served.characters_per_token) + ask.count * reranker.checkpoint.template.fixed
        job = batcher.admit(estimate, deadline, ask.priority)
        try:
            prepared, cut = await self._prepared(reranker, ask)
            tokens = sum(one.total_tokens for one in prepared)
            if not cut and not any(one.query_truncated for one in prepared):
                served.met(characters, tokens)
            charge(tokens)
            tokenized = time.monotonic()
            sequences = [filled for one in prepared for filled in one.sequences]
            logits = await asyncio.wrap_future(batcher.enter(job, sequences))
        finally:
            batcher.leave(job)
            # It was let in to be answered by now.
            if time.monotonic() >= deadline > begun + job.expected:
                batcher.met(job, deadline - begun)
        done = time.monotonic()
        rankings = await loop.run_in_executor(self.ranking, _rankings, reranker, ask, prepared, logits)
        batcher.met(job, time.monotonic() - begun)
        return Answer(
            id=id,
            created=int(time.time()),
            model=served.name,
            ask=ask,
            rankings=rankings,
            timing=_timing(job, start=start, tokenized=tokenized, done=done),
            search_units=_search_units(prepared),
            warnings=_warnings(reranker, prepared, cut),
        )

    async def _prepared(self, reranker: Reranker, ask: Ask) -> tuple[list[Prepared], int]:
        """Tokens of every group, and how many documents were cut at the length that was asked for."""
        loop = asyncio.get_running_loop()
        prepared, cut = [], 0
        for number, group in enumerate(ask.groups):
            parts = []
            for first in range(0, len(group.texts), STRETCH):
                # A pair of a group of its own is called by its group's number, a document by its place.
                where = max(number, first)
                texts = group.texts[first : first + STRETCH]
                work = partial(_prepare, reranker, ask, group.query, texts, group.field, where)
                part, shortened = await loop.run_in_executor(self.tokenizing, work)
                parts.append(part)
                cut += shortened
            prepared.append(_joined(parts))
        return prepared, cut

    async def _loaded(self, served: Served) -> Loaded:
        if served.loaded:
            return served.loaded
        if not self.options.lazy:
            reason = f"could not be loaded: {served.error}" if served.error else "is being loaded"
            raise Problem("loading", f"model {served.name!r} {reason}", retry_after=None if served.error else 2)
        try:
            return await self.models.load(served)
        except CrossrankError as error:
            raise Problem("loading", f"model {served.name!r} could not be loaded: {error}") from error


def _prepare(
    reranker: Reranker, ask: Ask, query: Text, whole: list[Text], field: str, where: int
) -> tuple[Prepared, int]:
    """Tokens of a stretch of documents, the first of them number `where`; and how many of them were cut."""
    texts = whole
    if ask.document_tokens is not None:
        texts = [_cut(reranker, text, ask.document_tokens) for text in whole]
    prepared = reranker.prepare(query, texts)
    if not ask.truncate:
        _refuse_long(prepared, field, where)
    return prepared, sum(short is not text for short, text in zip(texts, whole, strict=True))


def _joined(parts: list[Prepared]) -> Prepared:
    """One query's documents together again."""
    return Prepared(
        sequences=[filled for part in parts for filled in part.sequences],
        ranges=[ranges for part in parts for ranges in part.ranges],
        query_tokens=parts[0].query_tokens,
        query_truncated=parts[0].query_truncated,
    )


def _cut(reranker: Reranker, text: Text, tokens: int) -> Text:
    """The text up to its first `tokens` tokens; the very same text where it has no more."""
    # A token is a byte of UTF-8 at the least, so most texts need no counting.
    if len(text.text.encode()) <= tokens:
        return text
    offsets = reranker.checkpoint.tokenizer.offsets(text.text)
    return text if len(offsets) <= tokens else Text(text.text[: int(offsets[tokens - 1, 1])])


def _refuse_long(prepared: Prepared, field: str, where: int) -> None:
    if prepared.query_truncated:
        raise field_problem("query", "is longer than this model reads, and truncation is off", None, kind="too_long")
    for index, ranges in enumerate(prepared.ranges):
        if len(ranges) > 1:
            raise field_problem(
                f"{field}[{where + index}]",
                "is longer than this model reads, and truncation is off",
                None,
                kind="too_long",
            )


def _rankings(reranker: Reranker, ask: Ask, prepared: list[Prepared], logits: list[float]) -> list[Ranking]:
    rankings, start = [], 0
    for group, one in zip(ask.groups, prepared, strict=True):
        end = start + len(one.sequences)
        rankings.append(reranker.ranking(one, logits[start:end], group.texts, group.documents, top_n=ask.top_n))
        start = end
    return rankings


def _search_units(prepared: list[Prepared]) -> int:
    """See Answer. Of what was scored, whatever of it the request wants back."""
    pieces = 0
    for one in prepared:
        start = 0
        for ranges in one.ranges:
            end = start + len(ranges)
            pieces -= -sum(map(len, one.sequences[start:end])) // 500
            start = end
    return -(-pieces // 100)


def _timing(job: Job, *, start: float, tokenized: float, done: float) -> Timing:
    return Timing(
        tokenize=tokenized - start,
        queue=max(0.0, (job.started or done) - tokenized),
        compute=job.computed,
        total=done - start,
    )


def _warnings(reranker: Reranker, prepared: list[Prepared], cut: int) -> tuple[str, ...]:
    warnings = []
    if any(one.query_truncated for one in prepared):
        warnings.append(f"the query was cut to {reranker.limits.max_query} tokens")
    if cut:
        warnings.append(f"{cut} documents were cut to the length that the request set")
    return tuple(warnings)
