"""Ask -> Answer: a place in the queue first, then tokens in a thread, batches shared with others, and the ranking."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
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
# Documents, or characters of them, tokenized at a stretch: a small request waits for a stretch of a large one, not for
# all of it, and a large one that is given up stops at its end.
STRETCH = 64
STRETCH_CHARACTERS = 200_000


class Answering:
    """Answers requests with the models it was given."""

    def __init__(self, models: Models, options: ServeOptions) -> None:
        self.models = models
        self.options = options
        self.tokenizing = ThreadPoolExecutor(TOKENIZING_THREADS, thread_name_prefix="tokens")
        # A text longer than a stretch holds its thread to the end, whoever has given up: never one that others need.
        self.long = ThreadPoolExecutor(1, thread_name_prefix="long texts")
        # Not the same threads: an answer that is all but done should not wait for newcomers' tokens.
        self.ranking = ThreadPoolExecutor(TOKENIZING_THREADS, thread_name_prefix="rankings")

    def close(self) -> None:
        """Let the threads go."""
        for threads in (self.tokenizing, self.long, self.ranking):
            threads.shutdown(wait=False, cancel_futures=True)

    async def answer(
        self, ask: Ask, *, id: str, arrived: float, patience: float, charge: Callable[[int], None]
    ) -> Answer:
        """The answer, or a Problem `patience` seconds after `arrived` (time.monotonic).

        charge: told the tokens once they are counted. Cancelling this call takes what has not run out of the queue.
        """
        start, deadline = time.monotonic(), arrived + patience
        late = Problem("deadline", f"no answer within {patience:g} seconds", retry_after=1)
        if start >= deadline:
            raise late
        if ask.count > self.options.max_documents:
            raise Problem("documents", f"{ask.count} documents; this server takes {self.options.max_documents} at once")
        _refuse_huge(ask, self.options.max_text_characters)
        served = self.models.pick(ask.model)
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + deadline - start):
                loaded = await self.loaded(served)
                return await self._answer(ask, served, loaded, id=id, start=start, deadline=deadline, charge=charge)
        except TimeoutError as error:
            raise late from error

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
        threads = self.long if _read_again(ask, prepared) > STRETCH_CHARACTERS else self.ranking
        rankings = await loop.run_in_executor(threads, _rankings, reranker, ask, prepared, logits)
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
            for first, end in _stretches(group.texts):
                # A pair of a group of its own is called by its group's number, a document by its place.
                where = max(number, first)
                texts = group.texts[first:end]
                longest = max(len(text.text) for text in (group.query, *texts))
                threads = self.long if longest > STRETCH_CHARACTERS else self.tokenizing
                work = partial(_prepare, reranker, ask, group.query, texts, group.field, where)
                part, shortened = await loop.run_in_executor(threads, work)
                parts.append(part)
                cut += shortened
            prepared.append(_joined(parts))
        return prepared, cut

    async def loaded(self, served: Served) -> Loaded:
        """The model, which with --lazy its first request loads; a Problem where it is not there, or cannot be."""
        if served.loaded:
            return served.loaded
        if not self.options.lazy:
            reason = f"could not be loaded: {served.error}" if served.error else "is being loaded"
            raise Problem("loading", f"model {served.name!r} {reason}", retry_after=None if served.error else 2)
        try:
            return await self.models.load(served)
        except CrossrankError as error:
            raise Problem("loading", f"model {served.name!r} could not be loaded: {error}") from error


def _refuse_huge(ask: Ask, most: int) -> None:
    """Refuse a text whose tokens alone could take the memory: some 600 bytes a character at the worst."""
    for number, group in enumerate(ask.groups):
        for index, text in enumerate((group.query, *group.texts)):
            if len(text.text) > most:
                field = f"{group.field}[{max(number, index - 1)}]" if index else "query"
                words = f"has {len(text.text)} characters; this server takes {most} (--max-text-characters)"
                raise field_problem(field, words, None, kind="too_much")


def _stretches(texts: list[Text]) -> Iterator[tuple[int, int]]:
    """Half-open ranges of documents. A document longer than a stretch is one alone: texts are tokenized whole."""
    first = characters = 0
    for index, text in enumerate(texts):
        size = len(text.text)
        if index > first and (index - first == STRETCH or characters + size > STRETCH_CHARACTERS):
            yield first, index
            first, characters = index, 0
        characters += size
    yield first, len(texts)


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


def _read_again(ask: Ask, prepared: list[Prepared]) -> int:
    """Characters of the documents in windows, which a ranking tokenizes once more for their spans."""
    return sum(
        len(text.text)
        for group, one in zip(ask.groups, prepared, strict=True)
        for text, ranges in zip(group.texts, one.ranges, strict=True)
        if len(ranges) > 1
    )


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
