"""prompt_embeds of /v1/completions: prompts as embeddings, in base64."""

from __future__ import annotations

import base64
import binascii

import numpy as np

from jaxpaged import read_embeds
from server.errors import bad_request
from server.openai.schema import CompletionRequest

MAX_EMBEDS = 64
MOST_INLINE = 1 << 18  # characters that are read on the event loop: about 1 ms


def is_large(body: CompletionRequest) -> bool:
    """Whether reading the embeddings of a body would hold other clients up."""
    given = body.prompt_embeds or ()
    return (len(given) if isinstance(given, str) else sum(map(len, given))) > MOST_INLINE


def embeds_prompts(body: CompletionRequest) -> list[np.ndarray]:
    """The prompts that a body gives as embeddings; they come before its others. Raises ApiError and RequestError."""
    if body.prompt_embeds is None:
        return []
    given = [body.prompt_embeds] if isinstance(body.prompt_embeds, str) else body.prompt_embeds
    if not 1 <= len(given) <= MAX_EMBEDS:
        raise bad_request(f"prompt_embeds holds {len(given)} prompts; 1 to {MAX_EMBEDS} are taken.", "prompt_embeds")
    for name in ("echo", "truncate_prompt_tokens", "use_beam_search"):
        if getattr(body, name):
            raise bad_request(f"{name} does not go with prompt_embeds; leave it out.", name)
    return [read_embeds(_decoded(text)) for text in given]


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise bad_request("prompt_embeds must be base64.", "prompt_embeds") from error
