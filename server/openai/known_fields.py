"""Fields of requests that vLLM and OpenAI know and that have no effect here: hints, and what is refused by its name."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

log = logging.getLogger("jaxpaged.server")
MAX_LOOKED_AT = 256  # fields of a body in which unknown names are looked for

MAX_TOLD = 1024  # names that a client makes up must not fill the log
# they ask for no other answer: ignored in silence
HINTS = frozenset(
    "user metadata store service_tier prompt_cache_key prompt_cache_retention prompt_cache_options safety_identifier "
    "prediction verbosity request_id session_id return_mm_kwargs guided_decoding_backend flat_logprobs "
    "skip_reading_prefix_cache cache_control inference_geo speed betas".split()
)
# field -> values that ask for nothing
UNSERVED: dict[str, tuple[Any, ...]] = {
    "prompt_embeds": (None,),
    "kv_transfer_params": (None,),
    "vllm_xargs": (None, {}),
    "suffix": (None, ""),
    "audio": (None,),
    "modalities": (None, ["text"]),
    "web_search_options": (None,),
    "mm_processor_kwargs": (None, {}),
    "watermarking": (None, False),
    "ec_transfer_params": (None, {}),
    "return_token_offsets": (None, False),
    "routed_experts_prompt_start": (None, 0),
    "prompt_logprob_token_ids": (None,),
    "prompt_logprob_start": (None,),
    "trace_decode_token_ids": (None,),
    "logits_processors": (None, []),
    "extra_args": (None, {}),
    "early_stopping": (None, False),
    "media_io_kwargs": (None, {}),
    "return_prompt_text": (None, False),
}


def asks_for_something(name: str, value: Any) -> bool:
    """Whether a field of UNSERVED has a value that would change the answer; 0 is not False here."""
    return not any(type(value) is type(nothing) and value == nothing for nothing in UNSERVED[name])


def note_ignored(body: Mapping[str, Any], known: Collection[str]) -> None:
    """Say once in the log that a field is ignored because nobody here knows it, of the first MAX_TOLD ones."""
    if len(body) <= MAX_LOOKED_AT and _tell.cache_info().misses < MAX_TOLD:
        for name in body.keys() - known - HINTS:
            _tell(name[:64])


@cache
def _tell(name: str) -> None:
    log.info("the field %r is not known and is ignored in requests", name)
