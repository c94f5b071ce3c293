"""A config.json with a broken value is refused by the name of its key, whatever the value."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.models.config_values import KINDS
from jaxpaged.models.registry import ARCHITECTURES, spec_from_config
from tests.models.case import Case
from tests.models.cases import CASE, CASES

BROKEN = ["x", -1, 0, 1.5, [], {}, True, math.nan, math.inf, [1], [[]], 3, 7]


def variants(config: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Configs with one value replaced, at the top or inside one of its objects."""
    for key, value in config.items():
        for broken in BROKEN:
            yield key, {**config, key: broken}
        if isinstance(value, Mapping):
            yield from ((inner, {**config, key: changed}) for inner, changed in variants(value))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_other_value_is_understood_or_refused(case: Case) -> None:
    """In one sentence, never by an exception from the arithmetic behind it."""
    refused = set()
    for key, config in variants(case.config):
        try:
            spec_from_config(config)
        except UnsupportedModelError:
            refused.add(key)
    assert refused >= (set(case.config) & set(KINDS)) - {"attention_bias", "mlp_bias", "tie_word_embeddings"}


def test_every_key_that_is_read_has_a_kind() -> None:
    assert set().union(*(family.used_keys for family in ARCHITECTURES.values())) <= set(KINDS)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("llama", {"hidden_size": -1}, "config.json has hidden_size=-1, which should be a positive integer"),
        ("llama", {"num_key_value_heads": 3}, "4 query heads of 16 dimensions over 3 key-value heads"),
        ("llama", {"head_dim": 15}, "rotates 15 of a head's 15 dimensions"),
        ("llama", {"rms_norm_eps": "1e-5"}, "rms_norm_eps='1e-5', which should be a positive number"),
        ("gptj", {"rotary_dim": 64}, "rotates 64 of a head's 12 dimensions"),
        (
            "llama_yarn",
            {"rope_parameters": {"rope_type": "yarn", "factor": math.inf}},
            "rope_parameters of config.json has factor=inf",
        ),
        ("phi3_longrope", {"head_dim": 64}, "4 numbers in short_factor, but 16 pairs"),
        ("hunyuan_moe", {"moe_topk": [1, 2, 2]}, r"gives layers different moe_topk, \[1, 2\]"),
        ("mixtral", {"num_experts_per_tok": 6}, "6 experts a token of 5"),
        ("llama", {"architectures": "LlamaForCausalLM"}, "architectures='LlamaForCausalLM'.*list of texts"),
    ],
)
def test_the_sentence(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message) as caught:
        spec_from_config({**CASE[name].config, **changes})
    assert "\n" not in str(caught.value)
