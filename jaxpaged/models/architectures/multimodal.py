"""Multimodal checkpoints served for text: Gemma 3, Mistral Small 3, Ministral 3, Qwen 2.5 and 3 VL, Llama 4."""

from __future__ import annotations

from jaxpaged.models.architectures import gemma3, llama4, ministral3, mistral, qwen2, qwen3
from jaxpaged.models.text_half import text_half

# Published files leave out what was the default when they were written.
GEMMA3_DEFAULTS = {
    "vocab_size": 262208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 131072,
}
ARCHITECTURES = (
    text_half(
        "Gemma3ForConditionalGeneration", "gemma3", {"gemma3_text": gemma3.ARCHITECTURE}, defaults=GEMMA3_DEFAULTS
    ),
    text_half(
        "Mistral3ForConditionalGeneration",
        "mistral3",
        {"mistral": mistral.ARCHITECTURE, "ministral3": ministral3.ARCHITECTURE},
    ),
    text_half("Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl", {"qwen2_5_vl_text": qwen2.ARCHITECTURE}),
    text_half("Qwen3VLForConditionalGeneration", "qwen3_vl", {"qwen3_vl_text": qwen3.ARCHITECTURE}),
    text_half("Llama4ForConditionalGeneration", "llama4", {"llama4_text": llama4.ARCHITECTURE}),
)
