"""How much of the sampler a batch needs. The larger variants give rows of the smaller ones the same tokens."""

from enum import IntEnum


class Variant(IntEnum):
    """GREEDY takes the best token; PLAIN adds temperature, top-k, top-p and min-p; FULL adds the logit stages;
    LOGPROBS adds log probabilities."""

    GREEDY = 0
    PLAIN = 1
    FULL = 2
    LOGPROBS = 3
