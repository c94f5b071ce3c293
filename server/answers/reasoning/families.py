"""Reasoning formats by the names that vLLM gives their parsers, and how a chat template shows its own."""

from __future__ import annotations

from server.answers.reasoning.block import GRANITE_THOUGHT, MISTRAL_THINK, THINK, THINK_IMPLIED, Tags

HARMONY = "openai_gptoss"  # its tool family's grammar splits reasoning as well
TAGS: dict[str, Tags] = {
    "think": THINK,
    "deepseek_r1": THINK_IMPLIED,
    "deepseek_v3": THINK,
    "qwen3": THINK,
    "glm45": THINK,
    "kimi_k2": THINK,
    "granite": GRANITE_THOUGHT,
    "mistral": MISTRAL_THINK,
}
VLLM_NAMES = [*(name for name in TAGS if name != "think"), HARMONY]

# (in the template, format); the first that is found counts
_SIGNS = (
    ("<|channel|>", HARMONY),
    ("[THINK]", "mistral"),
    ("Here is my thought process", "granite"),
    ("<think>", "think"),
    ("</think>", "think"),
)


def detect_reasoning(template: str) -> str | None:
    """The format whose blocks a chat template renders."""
    return next((name for sign, name in _SIGNS if sign in template), None)


def reasoning_names() -> list[str]:
    """Every name that can be asked for."""
    return sorted([HARMONY, *TAGS])
