"""Ministral 3: Llama with queries that grow with their position."""

from __future__ import annotations

from collections import ChainMap
from typing import Any, cast

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import given, need, window_of
from jaxpaged.models.spec import DecoderSpec, Temperature

DEFAULT_HEAD_DIM = 128
GROWTH, LONGEST = "llama_4_scaling_beta", "max_position_embeddings"  # both stand among rope's values


def spec_from_hf(config: Config) -> DecoderSpec:
    key = "rope_scaling" if config.get("rope_parameters") is None else "rope_parameters"
    values = need(config, key)
    plain = {name: value for name, value in values.items() if name not in (GROWTH, LONGEST)}
    read = ChainMap({key: plain}, cast(dict[str, Any], config))
    spec = llama.llama_spec(read, given(config, "head_dim", DEFAULT_HEAD_DIM))
    temperature = Temperature(float(need(values, "original_max_position_embeddings")), float(need(values, GROWTH)))
    return spec.with_mixers(window=window_of(config), temperature=temperature)


ARCHITECTURE = Architecture(
    names=("Ministral3ForCausalLM",),
    model_type="ministral3",
    spec_from_hf=spec_from_hf,
    weights=llama.WEIGHTS,
    used_keys=llama.KEYS | {"sliding_window"},
    fixed_keys={"attention_bias": False, "mlp_bias": False},
)
