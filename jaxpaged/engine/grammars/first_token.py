"""Whether a grammar and the other parameters of a request leave a token to begin with."""

from __future__ import annotations

import numpy as np

from jaxpaged.params.no_token import forbidden_first
from jaxpaged.scheduling.request import Request
from jaxpaged.structured.constraint import Mask, set_bits


def first_token_left(mask: Mask, request: Request) -> bool:
    """`mask` is what the grammar lets come first; tokens that end the answer count where it accepts."""
    params, words = request.params, mask.words.copy()
    set_bits(words, params.stop_token_ids or (), allowed=mask.accepting)
    if mask.accepting and not params.ignore_eos:
        set_bits(words, request.eos_token_ids, allowed=True)
    if params.allowed_token_ids is not None:
        allowed = np.zeros_like(words)
        set_bits(allowed, params.allowed_token_ids, allowed=True)
        words &= allowed
    set_bits(words, sorted(forbidden_first(params, request.eos_token_ids)), allowed=False)
    return bool(words.any())
