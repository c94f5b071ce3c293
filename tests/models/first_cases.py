"""The parity cases of the first vLLM's families that are neither Llama nor among the first twelve here."""

from typing import Any

from tests.models.case import LONGEST, VOCAB, Case, llama_like


def _falcon(**changes: Any) -> dict[str, Any]:
    base = {
        "architectures": ["FalconForCausalLM"],
        "model_type": "falcon",
        "vocab_size": VOCAB,
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "layer_norm_epsilon": 1e-5,
        "max_position_embeddings": LONGEST,
        "torch_dtype": "float32",
    }
    return {**base, **changes}


def _bigcode(**changes: Any) -> dict[str, Any]:
    base = {
        "architectures": ["GPTBigCodeForCausalLM"],
        "model_type": "gpt_bigcode",
        "vocab_size": VOCAB,
        "n_embd": 48,
        "n_head": 4,
        "n_inner": 80,
        "n_layer": 2,
        "n_positions": LONGEST,
        "activation_function": "gelu_pytorch_tanh",
        "layer_norm_epsilon": 1e-5,
        "torch_dtype": "float32",
    }
    return {**base, **changes}


def _stablelm(**changes: Any) -> dict[str, Any]:
    config = llama_like(
        "StableLmForCausalLM", "stablelm", num_hidden_layers=2, layer_norm_eps=1e-5, partial_rotary_factor=0.5
    )
    return {**{key: value for key, value in config.items() if key != "rms_norm_eps"}, **changes}


FIRST = (
    Case("falcon", _falcon(multi_query=True, parallel_attn=True, bias=False, alibi=False)),
    Case("falcon_grouped", _falcon(new_decoder_architecture=True, num_kv_heads=2, ffn_hidden_size=80)),
    # Transformers rounds ALiBi to bfloat16, which six heads' slopes stand.
    Case(
        "falcon_alibi",
        _falcon(num_attention_heads=6, alibi=True, bias=True, multi_query=False, parallel_attn=False),
    ),
    Case("gpt_bigcode", _bigcode()),
    Case("gpt_bigcode_heads", _bigcode(multi_query=False)),
    Case(
        "mpt",
        {
            "architectures": ["MptForCausalLM"],
            "model_type": "mpt",
            "vocab_size": VOCAB,
            "d_model": 48,
            "n_heads": 6,
            "n_layers": 2,
            "expansion_ratio": 4,
            "max_seq_len": LONGEST,
            "attn_config": {"alibi": True, "alibi_bias_max": 8, "clip_qkv": 1.5, "softmax_scale": 0.2},
            "no_bias": True,
            "norm_type": "low_precision_layernorm",
            "torch_dtype": "float32",
        },
    ),
    Case(
        "phi",
        {
            **{key: value for key, value in _stablelm().items() if key != "partial_rotary_factor"},
            "architectures": ["PhiForCausalLM"],
            "model_type": "phi",
            "hidden_act": "gelu_new",
            "qk_layernorm": True,
        },
    ),
    Case("stablelm", _stablelm(use_qkv_bias=True)),
    Case("stablelm_parallel", _stablelm(qk_layernorm=True, use_parallel_residual=True)),
)
