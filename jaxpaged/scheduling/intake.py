"""A new request is checked, ranked and prepared once, so that admission only copies ready-made arrays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np

from jaxpaged.config import SchedulerLimits
from jaxpaged.errors import RequestError
from jaxpaged.kv.kind import PagePolicy
from jaxpaged.scheduling.arrays import IntArray
from jaxpaged.scheduling.digest_table import DIGEST_BYTES
from jaxpaged.scheduling.prefix_cache import PrefixHasher
from jaxpaged.scheduling.request import NOT_CHOSEN, BeamGroup, Request
from jaxpaged.scheduling.rows import HASHED, LIMIT, NO_TOKEN, NUM_TOKENS, PLANNED_TOKENS, SCORES_PROMPT


class Intake:
    """Knows the limits of the engine and counts arrivals."""

    def __init__(
        self,
        config: SchedulerLimits,
        policies: Sequence[PagePolicy],
        num_pages: Sequence[int],
        max_model_len: int,
        hasher: PrefixHasher | None,
    ) -> None:
        self._config = config
        self._policies = tuple(policies)
        self._num_pages = tuple(num_pages)
        self._max_model_len = max_model_len
        self._hasher = hasher
        self._arrivals = count()

    def accept(self, request: Request) -> None:
        """Fill in the scheduler's fields of a new request. Raises RequestError for one that can never run."""
        if not request.prompt_token_ids:
            raise RequestError("the prompt is empty; give at least one token.", "prompt")
        try:
            tokens = np.array(request.prompt_token_ids, np.int32)
        except OverflowError as error:
            raise RequestError("the prompt holds a number that is no token id.", "prompt") from error
        if int(tokens.min()) < 0:
            raise RequestError(f"the prompt holds {tokens.min()}, which is no token id.", "prompt")
        self._rank_and_limit(request, tokens)

    def accept_children(self, parent: Request, children: Sequence[Request]) -> None:
        """The same for samples of an accepted request's prompt; they stay with it until it has that computed."""
        for child in children:
            self.accept_fork(parent, child, parent.tokens, parent.page_digests)
        lead(parent, children)

    def check_beams(self, group: BeamGroup) -> None:
        """Raise RequestError when there could never be rows for all beams."""
        width, most = len(group.members), self._config.max_num_seqs
        if width > most:
            raise RequestError(
                f"beam_width is {width}, and {most} sequences run at once; lower it or raise max_num_seqs.",
                "beam_width",
            )

    def accept_fork(self, parent: Request, child: Request, tokens: IntArray, page_digests: bytes) -> None:
        """The same for a child that continues its parent's tokens; what the parent hashed is not hashed again."""
        child.prompt_token_ids = parent.prompt_token_ids
        child.cache_salt, child.content_hashes = parent.cache_salt, parent.content_hashes
        child.adapter, child.adapter_version = parent.adapter, parent.adapter_version
        child.prompt_embeds = parent.prompt_embeds
        child.page_digests = page_digests
        self._rank_and_limit(child, tokens)

    def set_back(self, request: Request, tokens: IntArray) -> None:
        """Prepare a preempted request for its next admission. `tokens`: int32, prompt and output so far."""
        request.tokens = tokens
        # One token more than is known, so that every admission brings the request forward; the last is never computed.
        needed = min(len(tokens) + 1, int(request.row_words[LIMIT]) - 1)
        request.page_need = tuple(self._pages(request, policy, needed, request.num_shared) for policy in self._policies)
        request.scores_prompt = request.params.prompt_logprobs is not None and len(tokens) == request.prompt_len
        request.row_words[SCORES_PROMPT] = request.scores_prompt
        request.row_words[NUM_TOKENS : PLANNED_TOKENS + 1] = len(tokens)
        self.hash_pages(request)

    def hash_pages(self, request: Request) -> None:
        """Bring the digests of a request that is not running up to its tokens."""
        if self._hasher is not None:
            self._hasher.prepare(request)
            request.row_words[HASHED] = len(request.page_digests) // DIGEST_BYTES - 1

    def _rank_and_limit(self, request: Request, tokens: IntArray) -> None:
        limit = self._limit(request, len(tokens))
        arrival = next(self._arrivals)
        by_priority = self._config.policy == "priority"
        request.rank = (request.priority, request.arrival, arrival) if by_priority else (0, 0.0, arrival)
        stop, *request.more_stop_ids = _stop_ids(request) or [NO_TOKEN]
        earliest = request.prompt_len + request.params.min_tokens
        content = bool(request.content_hashes)
        words = (0, request.waits, request.variant, request.prompt_len, limit, earliest, stop, content, 0, 0, 0)
        request.row_words = np.array(words, np.int32)  # in the order of the columns in rows.py
        self.set_back(request, tokens)

    def _limit(self, request: Request, known: int) -> int:
        """The most tokens the request may have in all."""
        limit = self._max_model_len
        if request.prompt_len >= limit:
            raise RequestError(
                f"the prompt has {request.prompt_len} tokens, which leaves no room for an answer in the maximum "
                f"context length of {limit}; shorten it or raise max_model_len.",
                "prompt",
            )
        if request.params.max_tokens is not None:
            limit = min(limit, request.prompt_len + request.params.max_tokens)
        if known >= limit:
            raise RequestError(f"{known} tokens are there already, and {limit} is the most there may be.", "max_tokens")
        self._check_pages(request, limit, [pages - 1 for pages in self._num_pages], "the pool has")
        return limit

    def check_beside_pins(self, request: Request, room: Sequence[int]) -> None:
        """Raise RequestError when an accepted request could never run in `room` pages per cache group."""
        self._check_pages(request, int(request.row_words[LIMIT]), room, "beside pinned prefixes there are")

    def _check_pages(self, request: Request, limit: int, room: Sequence[int], there_are: str) -> None:
        """The last token is never computed, so limit - 1 tokens need pages. Page 0 holds none."""
        for policy, pages in zip(self._policies, room, strict=True):
            need = self._pages(request, policy, limit - 1, request.prompt_len)
            if need > pages:
                beams, lower = "", "lower max_tokens"
                if request.beams is not None:
                    beams, lower = f"{len(request.beams.members)} beams of ", "lower beam_width or max_tokens"
                raise RequestError(
                    f"{beams}a prompt of {request.prompt_len} tokens and an answer of up to "
                    f"{limit - request.prompt_len} need {need} KV pages of {policy.page_size} tokens, and "
                    f"{there_are} {pages}; {lower}, shorten the prompt or give the KV cache more memory.",
                    "max_tokens",
                )

    def _pages(self, request: Request, policy: PagePolicy, tokens: int, num_shared: int) -> int:
        """What a request of `tokens` tokens holds at most; with its beams, which share the first `num_shared`."""
        pages = policy.most_pages(tokens, self._config.max_num_batched_tokens)
        if request.beams is None or num_shared == NOT_CHOSEN:
            return pages
        shared = policy.shared_pages(num_shared // policy.page_size)
        return shared + len(request.beams.members) * (pages - shared)


def lead(parent: Request, children: Sequence[Request]) -> None:
    """Let the children wait for the parent's prompt."""
    parent.parent, parent.children = None, tuple(children)
    for child in children:
        child.parent = parent


def _stop_ids(request: Request) -> list[int]:
    """The tokens that end a request, those that end it for every request first."""
    eos = () if request.params.ignore_eos else request.eos_token_ids
    return list(dict.fromkeys((*eos, *(request.params.stop_token_ids or ()))))
