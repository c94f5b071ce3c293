"""StarCoder 2: layer norms, a plain MLP and biases everywhere, with rotary positions and a window."""

from __future__ import annotations

import dataclasses

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import activation_of, given, need, window_of
from jaxpaged.models.spec import MLP, DecoderSpec, Head, LayerNorm, PreNorm
from jaxpaged.models.weight_rules import Rule, WeightRules

LAYER, TARGET = "model.layers.{i}.mlp", "layers.{i}.ffn"
WEIGHTS = WeightRules(
    (
        *(rule for rule in llama.RULES if not rule.target.startswith(f"{TARGET}.")),
        *(
            Rule(f"{LAYER}.{source}.{kind}", f"{TARGET}.{target}{suffix}")
            for source, target in (("c_fc", "up"), ("c_proj", "down"))
            for kind, suffix in (("weight", ""), ("bias", "_bias"))
        ),
    ),
    prefix="model.",
    ignored=llama.WEIGHTS.ignored,
)


def spec_from_hf(config: Config) -> DecoderSpec:
    norm, bias = LayerNorm(given(config, "norm_epsilon", 1e-5)), given(config, "use_bias", True)
    spec = llama.spec_from_hf(config)
    spec = spec.with_mixers(window=window_of(config), qkv_bias=bias, out_bias=bias)
    activation = activation_of(config, "hidden_act", "gelu_pytorch_tanh")
    return dataclasses.replace(
        spec.with_layers(ffn=MLP(need(config, "intermediate_size"), activation, bias), residual=PreNorm(norm)),
        final_norm=norm,
        head=Head(tied=given(config, "tie_word_embeddings", True)),
    )


ARCHITECTURE = Architecture(
    names=("Starcoder2ForCausalLM",),
    model_type="starcoder2",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=(llama.KEYS - {"rms_norm_eps"}) | {"norm_epsilon", "sliding_window", "use_bias"},
    ignored_keys=frozenset({"embedding_dropout", "residual_dropout"}),
)
