"""The parity cases of the first twelve families: a tiny config per feature."""

from typing import Any

from tests.models.case import LONGEST, ORIGINAL, VOCAB, WINDOW, Case, llama_like


def _llama(**changes: Any) -> dict[str, Any]:
    return llama_like("LlamaForCausalLM", "llama", head_dim=16, **changes)


def _scaled(**scaling: Any) -> dict[str, Any]:
    """Llama with rope scaling, spelled as transformers 5 does."""
    config = _llama(num_hidden_layers=2, rope_parameters={"rope_theta": 10000.0, **scaling})
    return {key: value for key, value in config.items() if key != "rope_theta"}


def _gemma(architecture: str, model_type: str, **changes: Any) -> dict[str, Any]:
    gemma = {
        "head_dim": 16,
        "hidden_activation": "gelu_pytorch_tanh",
        "num_hidden_layers": 4,
        "query_pre_attn_scalar": 20,
        "sliding_window": WINDOW,
        "tie_word_embeddings": True,
    }
    return llama_like(architecture, model_type, **{**gemma, **changes})


def _neox(**changes: Any) -> dict[str, Any]:
    base = {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "vocab_size": VOCAB,
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
        "max_position_embeddings": LONGEST,
        "rotary_emb_base": 10000,
        "rotary_pct": 0.5,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
    }
    return {**base, **changes}


def _opt(**changes: Any) -> dict[str, Any]:
    base = {
        "architectures": ["OPTForCausalLM"],
        "model_type": "opt",
        "vocab_size": VOCAB,
        "hidden_size": 48,
        "ffn_dim": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "activation_function": "relu",
        "do_layer_norm_before": True,
        "max_position_embeddings": LONGEST,
        "word_embed_proj_dim": 48,
        "dropout": 0.0,
        "torch_dtype": "float32",
    }
    return {**base, **changes}


def _gpt(architecture: str, model_type: str, **changes: Any) -> dict[str, Any]:
    base = {
        "architectures": [architecture],
        "model_type": model_type,
        "vocab_size": VOCAB,
        "n_embd": 48,
        "n_head": 4,
        "n_layer": 2,
        "n_positions": LONGEST,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "torch_dtype": "float32",
    }
    return {**base, **changes}


_LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": ORIGINAL}
_LONGROPE = {
    "type": "longrope",
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [1.0, 1.5, 2.5, 4.0],
}

FOUNDATION = (
    Case("llama", _llama()),
    Case("llama_mqa_bias", _llama(num_key_value_heads=1, attention_bias=True, mlp_bias=True, tie_word_embeddings=True)),
    Case("llama_linear", _scaled(rope_type="linear", factor=4.0)),
    # Served at 4 * ORIGINAL tokens, whose frequencies all requests share.
    Case("llama_dynamic", {**_scaled(rope_type="dynamic", factor=4.0), "max_position_embeddings": ORIGINAL}),
    Case("llama_yarn", _scaled(rope_type="yarn", factor=4.0, original_max_position_embeddings=ORIGINAL)),
    Case("llama_llama3", _scaled(rope_type="llama3", **_LLAMA3)),
    Case("mistral", llama_like("MistralForCausalLM", "mistral", head_dim=20, sliding_window=WINDOW)),
    Case(
        "qwen2",
        llama_like(
            "Qwen2ForCausalLM",
            "qwen2",
            sliding_window=WINDOW,
            use_sliding_window=True,
            max_window_layers=1,
            tie_word_embeddings=True,
        ),
    ),
    Case("qwen3", llama_like("Qwen3ForCausalLM", "qwen3", head_dim=16, attention_bias=False, tie_word_embeddings=True)),
    Case(
        "granite",
        llama_like(
            "GraniteForCausalLM",
            "granite",
            attention_multiplier=0.4,
            embedding_multiplier=6.0,
            logits_scaling=3.0,
            residual_multiplier=0.3,
        ),
    ),
    Case("gemma2", _gemma("Gemma2ForCausalLM", "gemma2", attn_logit_softcapping=4.0, final_logit_softcapping=3.0)),
    Case(
        "gemma3",
        _gemma(
            "Gemma3ForCausalLM",
            "gemma3_text",
            sliding_window_pattern=3,
            rope_theta=1000000.0,
            rope_local_base_freq=10000.0,
            rope_scaling={"rope_type": "linear", "factor": 8.0},
        ),
    ),
    Case("phi3", llama_like("Phi3ForCausalLM", "phi3", sliding_window=WINDOW, pad_token_id=0)),
    Case(
        "phi3_longrope",
        llama_like(
            "Phi3ForCausalLM",
            "phi3",
            num_attention_heads=3,
            num_key_value_heads=1,
            original_max_position_embeddings=ORIGINAL,
            partial_rotary_factor=0.5,
            rope_scaling=_LONGROPE,
            pad_token_id=0,
        ),
    ),
    Case("gpt2", _gpt("GPT2LMHeadModel", "gpt2")),
    Case("gptj", _gpt("GPTJForCausalLM", "gptj", rotary_dim=8, tie_word_embeddings=False)),
    Case("neox_parallel", _neox()),
    Case("neox_serial", _neox(use_parallel_residual=False)),
    Case("opt", _opt()),
    Case("opt_post_norm", _opt(do_layer_norm_before=False, word_embed_proj_dim=32)),
    Case("opt_no_bias", _opt(enable_bias=False)),
    # Six heads: no power of two.
    Case(
        "bloom",
        {
            "architectures": ["BloomForCausalLM"],
            "model_type": "bloom",
            "vocab_size": VOCAB,
            "hidden_size": 48,
            "n_head": 6,
            "n_layer": 2,
            "layer_norm_epsilon": 1e-5,
            "torch_dtype": "float32",
        },
    ),
)
