"""A new request is checked, ranked and prepared once, so that admission only copies ready-made arrays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np

from jaxpaged.config import SchedulerConfig
from jaxpaged.errors import RequestError
from jaxpaged.request import Request
from jaxpaged.scheduling.arrays import IntArray
from jaxpaged.scheduling.cache_groups import PageGeometry
from jaxpaged.scheduling.prefix_cache import PrefixHasher
from jaxpaged.scheduling.rows import PROMPT_HEADS


class Intake:
    """Knows the limits of the engine and counts arrivals."""

    def __init__(
        self,
        config: SchedulerConfig,
        geometry: Sequence[PageGeometry],
        num_pages: Sequence[int],
        max_model_len: int,
        hasher: PrefixHasher | None,
    ) -> None:
        self._config = config
        self._geometry = tuple(geometry)
        self._num_pages = tuple(num_pages)
        self._max_model_len = max_model_len
        self._hasher = hasher
        self._arrivals = count()

    def prepare(self, request: Request, tokens: IntArray) -> None:
        """Fill in the scheduler's fields. `tokens`: int32, all that is known. Raises RequestError if it can never run."""
        limit = self._limit(request, len(tokens))
        self._check_pages(request, limit)
        by_priority = self._config.policy == "priority"
        arrival = next(self._arrivals)
        request.rank = (request.priority, request.arrival, arrival) if by_priority else (0, 0.0, arrival)
        request.tokens = tokens
        request.row_words = self._row_words(request, limit)
        request.stop_ids = _stop_ids(request)
        if self._hasher is not None:
            self._hasher.rehash(request)

    def prepare_fork(self, parent: Request, child: Request, tokens: IntArray) -> None:
        """The same for a child that continues its parent's tokens; what the parent hashed is not hashed again."""
        child.prompt_token_ids = parent.prompt_token_ids
        child.cache_salt, child.content_hashes = parent.cache_salt, parent.content_hashes
        child.adapter, child.adapter_version = parent.adapter, parent.adapter_version
        child.prompt_embeds = parent.prompt_embeds
        self.prepare(child, tokens)
        if len(tokens) > child.prompt_len:
            child.row_words[PROMPT_HEADS] = 0

    def _limit(self, request: Request, known: int) -> int:
        """The most tokens the request may have in all."""
        if not known:
            raise RequestError("the prompt is empty; give at least one token.", "prompt")
        if request.prompt_len >= self._max_model_len:
            raise RequestError(
                f"the prompt has {request.prompt_len} tokens, which leaves no room for an answer in the context of "
                f"{self._max_model_len}; shorten it or raise max_model_len.",
                "prompt",
            )
        wanted = request.params.max_tokens
        limit = self._max_model_len
        if wanted is not None:
            limit = min(limit, request.prompt_len + wanted)
        if known >= limit:
            raise RequestError(f"{known} tokens are known already, and {limit} is the most it may have.", "max_tokens")
        return limit

    def _check_pages(self, request: Request, limit: int) -> None:
        """The last token is never computed, so limit - 1 tokens need pages. Page 0 holds none."""
        for geometry, pages in zip(self._geometry, self._num_pages, strict=True):
            need = geometry.most_pages(limit - 1, self._config.max_num_batched_tokens)
            if need > pages - 1:
                raise RequestError(
                    f"a prompt of {request.prompt_len} tokens and an answer of up to {limit - request.prompt_len} need "
                    f"{need} KV pages of {geometry.page_size} tokens, and the pool has {pages - 1}; lower max_tokens, "
                    "shorten the prompt or give the KV cache more memory.",
                    "max_tokens",
                )

    def _row_words(self, request: Request, limit: int) -> IntArray:
        """In the order of the columns in rows.py."""
        params = request.params
        heads = params.prompt_logprobs is not None
        words = (request.prompt_len, limit, request.prompt_len + params.min_tokens, request.variant, heads)
        return np.array(words, np.int32)


def _stop_ids(request: Request) -> IntArray:
    ids = set(request.params.stop_token_ids or ())
    if not request.params.ignore_eos:
        ids.update(request.eos_token_ids)
    return np.array(sorted(ids), np.int32)
