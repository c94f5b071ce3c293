"""What the fields of sampling parameters may hold: vLLM's ranges, and the sizes that the device has room for."""

from __future__ import annotations

from typing import Any

MAX_N = 128
MAX_STOP_TOKEN_IDS = 128
MAX_LOGIT_BIAS = 1024
MAX_ALLOWED_TOKEN_IDS = 1024
MAX_BAD_WORDS = 128
MAX_BAD_WORD_SPELLINGS = 2 * MAX_BAD_WORDS  # with and without a space before them
MAX_BAD_WORDS_TOKENS = 1024
MAX_BAD_WORDS_CHARACTERS = 16 * MAX_BAD_WORDS_TOKENS
MAX_STOP_CHARACTERS = 4096
MAX_LOGPROB_TOKEN_IDS = 128

GREEDY_BELOW = 1e-5
MIN_TEMPERATURE = 1e-2
LOGIT_BIAS_BOUND = 100.0
INT32_MAX = 2**31 - 1
FLOAT32_MAX = 3.4028234e38

# field -> (smallest, largest)
INTEGERS: dict[str, tuple[int, int]] = {
    "n": (1, MAX_N),
    "top_k": (-1, INT32_MAX),
    "seed": (-(2**63), 2**63 - 1),
    "max_tokens": (1, INT32_MAX),
    "min_tokens": (0, INT32_MAX),
    "logprobs": (-1, INT32_MAX),
    "prompt_logprobs": (-1, INT32_MAX),
    "stream_interval": (1, INT32_MAX),
    "thinking_token_budget": (-1, INT32_MAX),
}
# field -> (smallest, largest, what the sentence says); those that say "(0" leave 0 out
FLOATS: dict[str, tuple[float, float, str]] = {
    "presence_penalty": (-2.0, 2.0, "[-2, 2]"),
    "frequency_penalty": (-2.0, 2.0, "[-2, 2]"),
    "repetition_penalty": (0.0, FLOAT32_MAX, "(0, 3.4e38]"),
    "temperature": (0.0, 2.0, "[0, 2]"),
    "top_p": (0.0, 1.0, "(0, 1]"),
    "min_p": (0.0, 1.0, "[0, 1]"),
}
BOOLEANS = (
    "ignore_eos",
    "detokenize",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "include_stop_str_in_output",
)
OPTIONAL = frozenset(("seed", "max_tokens", "logprobs", "prompt_logprobs", "stream_interval", "thinking_token_budget"))
# list of token ids -> how many it may hold
TOKEN_ID_LISTS = {
    "stop_token_ids": MAX_STOP_TOKEN_IDS,
    "logprob_token_ids": MAX_LOGPROB_TOKEN_IDS,
    "allowed_token_ids": MAX_ALLOWED_TOKEN_IDS,
}
# field that nothing serves yet -> the values that ask for nothing
NOT_YET: dict[str, tuple[Any, ...]] = {
    "watermarking": (None, False),
    "prompt_logprob_token_ids": (None,),
    "prompt_logprob_start": (None,),
    "flat_logprobs": (False,),
    "routed_experts_prompt_start": (0,),
    "trace_decode_token_ids": (None,),
}


def sampling_limits() -> dict[str, dict[str, float]]:
    """Field -> its smallest and largest value, in JSON Schema's words."""
    found: dict[str, dict[str, float]] = {
        name: {"minimum": low, "maximum": high} for name, (low, high) in INTEGERS.items()
    }
    for name, (least, most, interval) in FLOATS.items():
        found[name] = {"exclusiveMinimum" if interval[0] == "(" else "minimum": least, "maximum": most}
    return found


def token_id_list_limits() -> dict[str, int]:
    """Field that is a list of token ids -> how many it may hold."""
    return dict(TOKEN_ID_LISTS)
