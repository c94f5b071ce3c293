"""OLMoE: norms over all queries and keys of a token, and experts whose weights keep their share of all."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama, qwen3_moe
from jaxpaged.models.experts import Experts, Router
from jaxpaged.models.head_norms import AcrossHeads
from jaxpaged.models.hf_config import activation_of, given, need, need_one
from jaxpaged.models.spec import DecoderSpec

EPS = 1e-5


def with_experts(spec: DecoderSpec, config: Config) -> DecoderSpec:
    """The spec with experts of intermediate_size in all layers."""
    router = Router(
        need_one(config, "num_experts", "num_local_experts"),
        need(config, "num_experts_per_tok"),
        renormalize=given(config, "norm_topk_prob", False),
    )
    experts = Experts(router, need(config, "intermediate_size"), activation_of(config, "hidden_act", "silu"))
    return spec.with_ffn(experts)


def spec_from_hf(config: Config) -> DecoderSpec:
    norm = AcrossHeads(given(config, "rms_norm_eps", EPS))
    spec = llama.spec_from_hf(config).with_mixers(qk_norm=norm)
    return with_experts(spec, config)


EXPERT_KEYS = frozenset({"norm_topk_prob", "num_experts", "num_experts_per_tok", "num_local_experts"})
ARCHITECTURE = Architecture(
    names=("OlmoeForCausalLM",),
    model_type="olmoe",
    spec_from_hf=spec_from_hf,
    weights=qwen3_moe.WEIGHTS,
    used_keys=llama.KEYS | EXPERT_KEYS | {"attention_bias"},
)
