"""GPT-J: attention and MLP side by side behind one norm, rotary pairs side by side, a bias on the head."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures.gpt2 import SUMMARY_KEYS
from jaxpaged.models.hf_config import activation_of, given, need, per_head
from jaxpaged.models.rope import Rope
from jaxpaged.models.spec import MLP, Attention, DecoderSpec, Embedding, Head, LayerNorm, LayerSpec, Parallel
from jaxpaged.models.weight_rules import Rule, WeightRules

LAYER, TARGET = "transformer.h.{i}", "layers.{i}"
WEIGHTS = WeightRules(
    (
        Rule("transformer.wte.weight", "embedding.table"),
        *(Rule(f"{LAYER}.attn.{part}_proj.weight", f"{TARGET}.mixer.qkv", part) for part in "qkv"),
        Rule(f"{LAYER}.attn.out_proj.weight", f"{TARGET}.mixer.out"),
        *(
            Rule(f"{LAYER}.mlp.{source}.{kind}", f"{TARGET}.ffn.{target}{suffix}")
            for source, target in (("fc_in", "up"), ("fc_out", "down"))
            for kind, suffix in (("weight", ""), ("bias", "_bias"))
        ),
        *(
            Rule(f"{source}.{kind}", f"{target}.{kind}")
            for source, target in (
                (f"{LAYER}.ln_1", f"{TARGET}.mixer_norm"),
                ("transformer.ln_f", "final_norm"),
                ("lm_head", "head"),
            )
            for kind in ("weight", "bias")
        ),
    ),
    prefix="transformer.",
    ignored=(r"\.attn\.(bias|masked_bias|embed_positions)",),
)


def spec_from_hf(config: Config) -> DecoderSpec:
    hidden, heads = need(config, "n_embd"), need(config, "n_head")
    norm = LayerNorm(given(config, "layer_norm_epsilon", 1e-5))
    dim = per_head(hidden, heads)
    rope = Rope(need(config, "rotary_dim"), 10000.0, pairs="adjacent")
    mixer = Attention(heads, heads, dim, scale=dim**-0.5, position=rope)
    ffn = MLP(given(config, "n_inner", 4 * hidden), activation_of(config, "activation_function", "gelu_new"), bias=True)
    return DecoderSpec(
        vocab_size=need(config, "vocab_size"),
        hidden_size=hidden,
        max_position=given(config, "n_positions", 2048),
        embedding=Embedding(hidden),
        layers=(LayerSpec(mixer, ffn, Parallel(norm)),) * need(config, "n_layer"),
        final_norm=norm,
        head=Head(tied=given(config, "tie_word_embeddings", False), bias=True),
    )


ARCHITECTURE = Architecture(
    names=("GPTJForCausalLM",),
    model_type="gptj",
    spec_from_hf=spec_from_hf,
    weights=WEIGHTS,
    used_keys=frozenset(
        {
            "activation_function",
            "layer_norm_epsilon",
            "n_embd",
            "n_head",
            "n_inner",
            "n_layer",
            "n_positions",
            "rotary_dim",
            "tie_word_embeddings",
            "vocab_size",
        }
    ),
    ignored_keys=SUMMARY_KEYS,
    fixed_keys={"rotary": True, "scale_attn_weights": True},
)
