"""Ministral 3: Llama with queries that grow with their position."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import given, need, rope_key, window_of, without_rope_keys
from jaxpaged.models.spec import DecoderSpec, Temperature

DEFAULT_HEAD_DIM = 128
GROWTH, LONGEST = "llama_4_scaling_beta", "max_position_embeddings"  # both stand among rope's values


def spec_from_hf(config: Config) -> DecoderSpec:
    values = need(config, rope_key(config))
    plain = without_rope_keys(config, {GROWTH, LONGEST})
    spec = llama.llama_spec(plain, given(config, "head_dim", DEFAULT_HEAD_DIM))
    period, growth = need(values, "original_max_position_embeddings"), float(need(values, GROWTH))
    temperature = Temperature(float(period), growth) if growth else None
    return spec.with_mixers(window=window_of(config), temperature=temperature)


ARCHITECTURE = Architecture(
    names=("Ministral3ForCausalLM",),
    model_type="ministral3",
    spec_from_hf=spec_from_hf,
    weights=llama.WEIGHTS,
    used_keys=llama.KEYS | {"sliding_window"},
    fixed_keys={"attention_bias": False, "mlp_bias": False},
)
