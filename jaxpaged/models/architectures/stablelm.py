"""StableLM: Llama with layer norms, partial rotary positions, and in the 12B model parallel layers and normed heads."""

from __future__ import annotations

import dataclasses

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import given, need, per_head, rope_of
from jaxpaged.models.spec import DecoderSpec, LayerNorm, Parallel, PreNorm
from jaxpaged.models.weight_rules import Rule, WeightRules

ATTENTION, TARGET = "model.layers.{i}.self_attn", "layers.{i}"
HEAD_NORMS = [f"{TARGET}.mixer.{part}_norm.weight" for part in "qk"]
WEIGHTS = WeightRules(
    (
        *(rule for rule in llama.RULES if rule.target not in HEAD_NORMS),
        *(
            Rule(f"{ATTENTION}.{part}_layernorm.norms.{{e}}.weight", f"{TARGET}.mixer.{part}_norm.weight")
            for part in "qk"
        ),
    ),
    prefix="model.",
    ignored=llama.WEIGHTS.ignored,
)
HEADS, ROTATED = "num_attention_heads", 0.25


def spec_from_hf(config: Config) -> DecoderSpec:
    eps, dim = given(config, "layer_norm_eps", 1e-5), per_head(need(config, "hidden_size"), need(config, HEADS))
    norm, heads_normed = LayerNorm(eps), given(config, "qk_layernorm", False)
    spec = llama.llama_spec(config, dim, rope_of(config, dim, rotated=ROTATED)).with_mixers(
        qkv_bias=given(config, "use_qkv_bias", False),
        qk_norm=LayerNorm(eps, bias=False) if heads_normed else None,
        norm_each_head=heads_normed,
    )
    residual = Parallel(norm) if given(config, "use_parallel_residual", False) else PreNorm(norm)
    return dataclasses.replace(spec.with_layers(residual=residual), final_norm=norm)


def spec_from_epoch(config: Config) -> DecoderSpec:
    """The first spelling."""
    names = {"layer_norm_eps": "norm_eps", "partial_rotary_factor": "rope_pct"}
    return spec_from_hf({**config, **{name: config.get(old) for name, old in names.items()}})


KEYS = (llama.KEYS - {"head_dim", "rms_norm_eps"}) | {"qk_layernorm", "use_parallel_residual", "use_qkv_bias"}
ARCHITECTURES = (
    Architecture(
        names=("StableLmForCausalLM",),
        model_type="stablelm",
        spec_from_hf=spec_from_hf,
        weights=WEIGHTS,
        used_keys=KEYS | {"layer_norm_eps", "partial_rotary_factor"},
    ),
    Architecture(
        names=("StableLMEpochForCausalLM",),
        model_type="stablelm_epoch",
        spec_from_hf=spec_from_epoch,
        weights=WEIGHTS,
        used_keys=KEYS | {"norm_eps", "rope_pct"},
        ignored_keys=frozenset({"num_heads"}),
        fixed_keys={"rotary_scaling_factor": 1},
    ),
)
