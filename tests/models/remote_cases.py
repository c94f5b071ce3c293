"""Configs of the architectures that transformers has no class for. Imports what cases.py does, and no more."""

from typing import Any

from tests.models.case import LONGEST, VOCAB, Case, llama_like
from tests.models.first_cases import FIRST

HIDDEN, INNER = 48, 80
OF_FIRST = {case.name: case.config for case in FIRST}


def _without(config: Any, *keys: str, **changes: Any) -> dict[str, Any]:
    return {**{key: value for key, value in config.items() if key not in keys}, **changes}


def _baichuan(**changes: Any) -> dict[str, Any]:
    llama = llama_like("BaichuanForCausalLM", "baichuan", num_hidden_layers=2, num_attention_heads=6)
    return _without(llama, "num_key_value_heads", "rope_theta", **changes)


CHATGLM = {
    "architectures": ["ChatGLMModel"],
    "model_type": "chatglm",
    "add_bias_linear": False,
    "add_qkv_bias": True,
    "ffn_hidden_size": INNER,
    "hidden_size": HIDDEN,
    "kv_channels": 16,
    "layernorm_epsilon": 1e-5,
    "multi_query_attention": True,
    "multi_query_group_num": 2,
    "num_attention_heads": 4,
    "num_layers": 2,
    "original_rope": True,
    "padded_vocab_size": VOCAB,
    "post_layer_norm": True,
    "rmsnorm": True,
    "rope_ratio": 50,
    "seq_length": LONGEST,
    "tie_word_embeddings": False,
}
QWEN = {
    "architectures": ["QWenLMHeadModel"],
    "model_type": "qwen",
    "hidden_size": HIDDEN,
    "intermediate_size": 2 * INNER,
    "kv_channels": 16,
    "layer_norm_epsilon": 1e-6,
    "max_position_embeddings": 8 * LONGEST,
    "no_bias": True,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "rotary_emb_base": 1000,
    "rotary_pct": 1.0,
    "scale_attn_weights": True,
    "seq_length": LONGEST,
    "tie_word_embeddings": False,
    "use_dynamic_ntk": True,
    "use_logn_attn": True,
    "vocab_size": VOCAB,
}
FALCON_NAMES = ("num_attention_heads", "num_hidden_layers", "num_kv_heads", "new_decoder_architecture")
FIRST_REMOTE = (
    Case("baichuan_rotary", _baichuan(architectures=["BaiChuanForCausalLM"])),
    Case("baichuan_alibi", _without(_baichuan(), "max_position_embeddings", model_max_length=LONGEST)),
    Case("baichuan_2", _baichuan(vocab_size=125696, num_hidden_layers=1)),
    Case("chatglm", CHATGLM),
    Case("decilm", llama_like("DeciLMForCausalLM", "deci", num_key_value_heads_per_layer=[4, 2, 1])),
    Case(
        "internlm",
        llama_like(
            "InternLMForCausalLM", "internlm", head_dim=16, bias=True, rotary={"base": 10000, "type": "dynamic"}
        ),
    ),
    Case("qwen", QWEN),
    Case(
        "refined_web",
        _without(
            OF_FIRST["falcon_grouped"],
            "ffn_hidden_size",
            *FALCON_NAMES,
            architectures=["RWForCausalLM"],
            model_type="RefinedWeb",
            n_head=4,
            n_head_kv=2,
            n_layer=2,
        ),
    ),
    Case(
        "stablelm_epoch",
        _without(
            OF_FIRST["stablelm"],
            "layer_norm_eps",
            "partial_rotary_factor",
            architectures=["StableLMEpochForCausalLM"],
            model_type="stablelm_epoch",
            norm_eps=1e-5,
            num_heads=4,
            rope_pct=0.5,
            rotary_scaling_factor=1.0,
        ),
    ),
)
EXAONE = _without(
    llama_like("ExaoneForCausalLM", "exaone"),
    "hidden_act",
    "num_hidden_layers",
    "rms_norm_eps",
    activation_function="silu",
    layer_norm_epsilon=1e-5,
    num_layers=3,
)
MINICPM = {"scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 16, "tie_word_embeddings": True}
DENSE_REMOTE = (
    Case("internlm2", llama_like("InternLM2ForCausalLM", "internlm2", bias=True)),
    Case("internlm3", llama_like("InternLM3ForCausalLM", "internlm3", bias=True, qkv_bias=True)),
    Case("exaone", EXAONE),
    Case("minicpm", llama_like("MiniCPMForCausalLM", "minicpm", **MINICPM)),
    Case("orion", llama_like("OrionForCausalLM", "orion")),
    Case("solar", llama_like("SolarForCausalLM", "solar")),
)
REMOTE_CASES = (*FIRST_REMOTE, *DENSE_REMOTE)
REMOTE_CASE = {case.name: case for case in REMOTE_CASES}
