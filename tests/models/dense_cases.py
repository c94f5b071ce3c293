"""The parity cases of the dense families after the first: one a family, with every feature of it switched on."""

from typing import Any

from tests.models.case import ORIGINAL, WINDOW, Case, llama_like


def _like(architecture: str, model_type: str, **changes: Any) -> dict[str, Any]:
    """Llama's keys, but those that are changed to None."""
    config = llama_like(architecture, model_type, **{"pad_token_id": 0, **changes})
    return {key: value for key, value in config.items() if value is not None}


_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": ORIGINAL}
_LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_BIASES = {"attention_bias": True, "mlp_bias": True}
_LAYER_NORM = {"rms_norm_eps": None, "layer_norm_eps": 1e-5}
_LOCAL, _GLOBAL = "sliding_attention", "full_attention"

DENSE = (
    Case("gemma", _like("GemmaForCausalLM", "gemma", head_dim=16, hidden_act="gelu", tie_word_embeddings=True)),
    Case(
        "starcoder2",
        _like(
            "Starcoder2ForCausalLM",
            "starcoder2",
            rms_norm_eps=None,
            norm_epsilon=1e-5,
            hidden_act="gelu_pytorch_tanh",
            sliding_window=WINDOW,
            use_bias=True,
        ),
    ),
    Case(
        "smollm3",
        _like(
            "SmolLM3ForCausalLM",
            "smollm3",
            num_hidden_layers=4,
            no_rope_layers=[1, 0, 1, 0],
            use_sliding_window=True,
            sliding_window=WINDOW,
            **_BIASES,
        ),
    ),
    Case("glm", _like("GlmForCausalLM", "glm", head_dim=16, partial_rotary_factor=0.5, attention_bias=True)),
    Case("glm4", _like("Glm4ForCausalLM", "glm4", head_dim=16, partial_rotary_factor=0.5, attention_bias=True)),
    Case(
        "nemotron",
        _like(
            "NemotronForCausalLM",
            "nemotron",
            rms_norm_eps=None,
            norm_eps=1e-5,
            head_dim=16,
            hidden_act="relu2",
            partial_rotary_factor=0.5,
            **_BIASES,
        ),
    ),
    Case(
        "exaone4",
        _like(
            "Exaone4ForCausalLM",
            "exaone4",
            num_hidden_layers=4,
            sliding_window=WINDOW,
            layer_types=[_LOCAL, _LOCAL, _GLOBAL, _LOCAL],
        ),
    ),
    Case(
        "apertus",
        _like(
            "ApertusForCausalLM",
            "apertus",
            hidden_act="xielu",
            attention_bias=True,
            rope_scaling={**_LLAMA3, "original_max_position_embeddings": ORIGINAL},
        ),
    ),
    Case("seed_oss", _like("SeedOssForCausalLM", "seed_oss", head_dim=16, attention_out_bias=True, **_BIASES)),
    Case("ernie4_5", _like("Ernie4_5ForCausalLM", "ernie4_5", head_dim=16, use_bias=True)),
    Case("arcee", _like("ArceeForCausalLM", "arcee", head_dim=16, hidden_act="relu2", **_BIASES)),
    Case(
        "persimmon",
        _like(
            "PersimmonForCausalLM",
            "persimmon",
            **_LAYER_NORM,
            num_key_value_heads=None,
            hidden_act="relu2",
            partial_rotary_factor=0.5,
            qk_layernorm=True,
        ),
    ),
    Case("olmo", _like("OlmoForCausalLM", "olmo", rms_norm_eps=None, clip_qkv=1.5, attention_bias=True)),
    Case("olmo2", _like("Olmo2ForCausalLM", "olmo2", attention_bias=True)),
    Case(
        "olmo3",
        _like(
            "Olmo3ForCausalLM",
            "olmo3",
            num_hidden_layers=4,
            rope_theta=500000.0,
            rope_scaling=_YARN,
            sliding_window=WINDOW,
        ),
    ),
    Case(
        "cohere",
        _like("CohereForCausalLM", "cohere", **_LAYER_NORM, logit_scale=0.3, use_qk_norm=True, attention_bias=True),
    ),
    Case(
        "cohere2",
        _like(
            "Cohere2ForCausalLM",
            "cohere2",
            **_LAYER_NORM,
            num_hidden_layers=4,
            logit_scale=0.3,
            sliding_window=WINDOW,
            sliding_window_pattern=2,
        ),
    ),
    Case(
        "hunyuan_dense",
        _like(
            "HunYuanDenseV1ForCausalLM",
            "hunyuan_v1_dense",
            head_dim=16,
            attention_bias=True,
            rope_scaling={"type": "dynamic", "alpha": 1000.0, "factor": 1.0},
        ),
    ),
)
