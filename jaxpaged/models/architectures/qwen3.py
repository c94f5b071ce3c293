"""Qwen 3: Llama with a norm on each head's query and key, and heads of their own size."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama, qwen2
from jaxpaged.models.hf_config import given
from jaxpaged.models.spec import DecoderSpec, RMSNorm

DEFAULT_HEAD_DIM = 128


def normed_heads(config: Config) -> DecoderSpec:
    """Llama with the norms of queries and keys."""
    spec = llama.llama_spec(config, given(config, "head_dim", DEFAULT_HEAD_DIM))
    return spec.with_mixers(qk_norm=RMSNorm(given(config, "rms_norm_eps", 1e-6)))


def spec_from_hf(config: Config) -> DecoderSpec:
    return qwen2.with_windows(normed_heads(config), config)


ARCHITECTURE = Architecture(
    names=("Qwen3ForCausalLM",),
    model_type="qwen3",
    spec_from_hf=spec_from_hf,
    weights=llama.WEIGHTS,
    used_keys=llama.KEYS | qwen2.WINDOW_KEYS | {"attention_bias"},
)
