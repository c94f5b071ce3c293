"""Pages that stay in the pool under a name, whoever uses them: of a system prompt, or of a running request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from jaxpaged.errors import RequestError
from jaxpaged.scheduling.intake import Intake
from jaxpaged.scheduling.prefix_cache import PrefixHasher, PrefixHit
from jaxpaged.scheduling.request import Request
from jaxpaged.scheduling.shard import Shard


class Pins:
    """Owner of the names. A prefix is pinned on one data shard; at most half of the pages of each cache group are.

    A request's pages are held on its own shard, without such a bound: those who hold them let them go soon.
    """

    def __init__(self, shards: Sequence[Shard], intake: Intake, hasher: PrefixHasher | None) -> None:
        self._shards = tuple(shards)
        self._intake = intake
        self._hasher = hasher
        self._shard_of: dict[str, Shard] = {}
        self._holder_of: dict[str, Shard] = {}

    def add(self, name: str, request: Request, live: Iterable[Request]) -> int:
        """Pin what the prefix cache knows of a request's prompt, beside `live` requests; returns how many tokens."""
        if self._hasher is None:
            raise RequestError("prefix caching is off; start with enable_prefix_caching=True.", "prompt")
        request.tokens = np.array(request.prompt_token_ids, np.int32)
        self._hasher.prepare(request)
        request.usable_pages = request.prompt_len // self._hasher.page_size
        num_tokens = self._pin(name, request)
        try:
            for other in live:
                self.check_beside(other)
        except RequestError:
            self.release(name)
            raise
        return num_tokens

    def check_beside(self, request: Request) -> None:
        """Raise RequestError when a request that the intake has accepted could never end beside the pins."""
        if self._shard_of:
            rooms = [_room(shard, request) for shard in self._shards]
            self._intake.check_beside_pins(request, list(map(min, zip(*rooms, strict=True))))

    def hold(self, name: str, request: Request) -> None:
        """Keep the full pages of a running request until release_hold(name)."""
        if not request.row:
            raise RequestError(f"request {request.request_id} is not running, it holds no pages.", "request_id")
        shard = self._shards[request.shard]
        shard.hold(name, request.row)
        self._holder_of[name] = shard

    def release_hold(self, name: str) -> None:
        self._holder_of.pop(name).release_hold(name)

    def _pin(self, name: str, request: Request) -> int:
        if name in self._shard_of:
            raise RequestError(f"a prefix named {name!r} is pinned already.", "prompt")
        hits = [shard.prefix.match([request])[0] for shard in self._shards]
        shard = max(self._shards, key=lambda shard: hits[shard.index].num_pages)
        hit = hits[shard.index]
        if not hit.num_pages:
            raise RequestError(
                f"there is nothing to pin of a prefix of {request.prompt_len} tokens: only full pages of "
                f"{shard.page_size} tokens that have been computed can be.",
                "prompt",
            )
        _check_half(shard, hit)
        shard.pin(name, hit)
        self._shard_of[name] = shard
        return hit.num_pages * shard.page_size

    def release(self, name: str) -> None:
        """Let a prefix go; unknown names are ignored, as those that reset_prefix_cache() has released."""
        shard = self._shard_of.pop(name, None)
        if shard is not None:
            shard.release_hold(name)

    def release_all(self) -> None:
        for name in list(self._shard_of):
            self.release(name)


def _check_half(shard: Shard, hit: PrefixHit) -> None:
    for allocator, pages in zip(shard.allocators, hit.pages, strict=True):
        most, pinned = (allocator.num_pages - 1) // 2, allocator.pinned()
        total = len(np.union1d(pinned, pages))
        if total > most:
            raise RequestError(
                f"this prefix has {len(pages)} KV pages, {len(pinned)} pages are pinned already, and no more than "
                f"{most}, half the pool, may be; release another one, or give the KV cache more memory.",
                "prompt",
            )


def _room(shard: Shard, request: Request) -> list[int]:
    """The pinned pages that are the beginning of the request's prompt are its own too, where it keeps them."""
    hit = shard.prefix.match([request])[0]
    room = []
    for policy, allocator, pages in zip(shard.policies, shard.allocators, hit.pages, strict=True):
        pinned = allocator.pinned()
        shared = policy.shared_pages(int(np.isin(pages, pinned).sum()))
        room.append(allocator.num_pages - 1 - len(pinned) + shared)
    return room
