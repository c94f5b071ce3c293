"""The parity cases of the text halves of multimodal checkpoints, with a tiny tower for images each."""

from typing import Any

from tests.models.case import ORIGINAL, WINDOW, Case, llama_like


def _text(model_type: str, **changes: Any) -> dict[str, Any]:
    base = llama_like("", model_type, **{"pad_token_id": 0, **changes})
    return {key: value for key, value in base.items() if key not in ("architectures", "torch_dtype")}


def _config(architecture: str, model_type: str, text: dict[str, Any], vision: dict[str, Any]) -> dict[str, Any]:
    return {
        "architectures": [architecture],
        "model_type": model_type,
        "text_config": text,
        "vision_config": vision,
        "tie_word_embeddings": text["tie_word_embeddings"],
        "torch_dtype": "float32",
    }


_TOWER = {"hidden_size": 16, "intermediate_size": 24, "patch_size": 14}
_SIGLIP = {
    **_TOWER,
    "model_type": "siglip_vision_model",
    "image_size": 28,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
}
_PIXTRAL = {**_SIGLIP, "model_type": "pixtral", "head_dim": 8}
_QWEN = {**_TOWER, "depth": 1, "num_heads": 2, "out_hidden_size": 48}
_LLAMA4_VISION = {
    **_SIGLIP,
    "model_type": "llama4_vision_model",
    "intermediate_size": 64,
    "vision_output_dim": 16,
    "projector_input_dim": 16,
    "projector_output_dim": 16,
}
_GEMMA_TEXT = {
    "head_dim": 16,
    "hidden_activation": "gelu_pytorch_tanh",
    "num_hidden_layers": 3,
    "query_pre_attn_scalar": 20,
    "sliding_window": WINDOW,
    "sliding_window_pattern": 3,
    "tie_word_embeddings": True,
}
_YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": ORIGINAL,
    "llama_4_scaling_beta": 0.4,
}

MULTIMODAL = (
    Case(
        "gemma3_multimodal",
        {
            **_config("Gemma3ForConditionalGeneration", "gemma3", _text("gemma3_text", **_GEMMA_TEXT), _SIGLIP),
            "mm_tokens_per_image": 4,
        },
    ),
    Case(
        "mistral3",
        _config("Mistral3ForConditionalGeneration", "mistral3", _text("mistral", head_dim=16), _PIXTRAL),
    ),
    Case(
        "mistral3_ministral",
        _config(
            "Mistral3ForConditionalGeneration",
            "mistral3",
            _text("ministral3", head_dim=16, rope_parameters=_YARN, tie_word_embeddings=True),
            _PIXTRAL,
        ),
    ),
    Case(
        "qwen2_5_vl",
        _config(
            "Qwen2_5_VLForConditionalGeneration",
            "qwen2_5_vl",
            _text("qwen2_5_vl_text", rope_scaling={"type": "mrope", "mrope_section": [2, 2, 2]}),
            {**_QWEN, "model_type": "qwen2_5_vl", "fullatt_block_indexes": [0], "window_size": 28},
        ),
    ),
    Case(
        "qwen3_vl",
        _config(
            "Qwen3VLForConditionalGeneration",
            "qwen3_vl",
            _text(
                "qwen3_vl_text",
                head_dim=16,
                rope_scaling={"rope_type": "default", "mrope_section": [2, 3, 3], "mrope_interleaved": True},
            ),
            {**_QWEN, "model_type": "qwen3_vl", "deepstack_visual_indexes": [0], "num_position_embeddings": 16},
        ),
    ),
    Case(
        "llama4_multimodal",
        _config(
            "Llama4ForConditionalGeneration",
            "llama4",
            _text(
                "llama4_text",
                num_hidden_layers=2,
                head_dim=16,
                intermediate_size=40,
                intermediate_size_mlp=56,
                num_local_experts=3,
                interleave_moe_layer_step=2,
                no_rope_layer_interval=2,
                attention_chunk_size=WINDOW,
            ),
            _LLAMA4_VISION,
        ),
    ),
)
