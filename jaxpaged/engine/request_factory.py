"""EngineRequest (a message) -> Request (the scheduler's): its seed, sampler variant, and identity of embeddings."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from jaxpaged.engine.messages import EngineRequest
from jaxpaged.errors import RequestError
from jaxpaged.sampling.sampler import Sampler
from jaxpaged.sampling.variant import Variant
from jaxpaged.sampling_params import SamplingParams
from jaxpaged.scheduling.request import Request

FLOAT32_BYTES = 4


@dataclass(slots=True)
class RequestFactory:
    """`embed_width` is the width of a prompt embedding row, or None where prompt embeddings are switched off.

    `variants` of the sampler are those that were compiled.
    """

    sampler: Sampler
    max_model_len: int
    embed_width: int | None
    variants: tuple[Variant, ...] = tuple(Variant)
    seeds: random.Random = field(default_factory=random.Random)

    def __call__(self, message: EngineRequest) -> Request:
        """Raises RequestError for what this engine cannot serve."""
        params = message.params
        params.validate(
            vocab_size=self.sampler.vocab_size, max_model_len=self.max_model_len, max_logprobs=self.sampler.max_logprobs
        )
        embeds = self._embeds(message)
        digest = () if embeds is None else ((0, hashlib.blake2b(embeds.tobytes(), digest_size=16).digest()),)
        return Request(
            request_id=message.request_id,
            prompt_token_ids=message.prompt_token_ids,
            params=params,
            eos_token_ids=message.eos_token_ids,
            arrival=message.arrival,
            priority=message.priority,
            cache_salt=message.cache_salt,
            content_hashes=digest,
            prompt_embeds=embeds,
            thinking=message.thinking,
            variant=self._variant(params),
            seed=self.seeds.getrandbits(63) if params.seed is None else params.seed,
        )

    def _variant(self, params: SamplingParams) -> int:
        variant = self.sampler.variant(params)
        if variant not in self.variants:
            name = variant.name.lower()
            raise RequestError(f"the sampler's variant {name!r} was not compiled; add it to CompileConfig.variants.")
        return int(variant)

    def _embeds(self, message: EngineRequest) -> np.ndarray | None:
        if message.prompt_embeds is None:
            return None
        if self.embed_width is None:
            raise RequestError("prompt_embeds are switched off; start with enable_prompt_embeds=True.", "prompt_embeds")
        tokens = len(message.prompt_token_ids)
        if len(message.prompt_embeds) != FLOAT32_BYTES * tokens * self.embed_width:
            raise RequestError(f"prompt_embeds must be float32 [{tokens}, {self.embed_width}].", "prompt_embeds")
        embeds = np.frombuffer(message.prompt_embeds, np.float32).reshape(tokens, self.embed_width)
        if not np.isfinite(embeds).all():
            raise RequestError("prompt_embeds hold NaN or infinity.", "prompt_embeds")
        return embeds


def samples_of(message: EngineRequest, make_request: Callable[[EngineRequest], Request]) -> list[Request]:
    """The samples that a message asks for, the parent first.

    A child takes its prompt, and what identifies that, from its parent when the scheduler gets both.
    """
    children = [
        replace(message, request_id=one.request_id, params=one.params, prompt_embeds=None, children=())
        for one in message.children
    ]
    return [make_request(one) for one in (message, *children)]
