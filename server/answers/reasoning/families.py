"""Reasoning formats by the names that vLLM gives their parsers, and how a chat template shows its own."""

from __future__ import annotations

import re

from server.answers.reasoning.block import GRANITE_THOUGHT, MISTRAL_THINK, SEED_THINK, THINK, THINK_IMPLIED, Tags

HARMONY = "openai_gptoss"  # its tool family's grammar splits reasoning as well
HARMONY_MARKS = ("<|channel|>analysis<|message|>",), ("<|end|>",)
TAGS: dict[str, Tags] = {
    "think": THINK,
    "deepseek_r1": THINK_IMPLIED,
    "deepseek_v3": THINK,
    "qwen3": THINK,
    "glm45": THINK,
    "glm47": THINK,
    "kimi_k2": THINK,
    "mimo": THINK,
    "holo2": THINK_IMPLIED,
    "minimax_m2": THINK_IMPLIED,
    "nemotron_v3": THINK_IMPLIED,
    "olmo3": THINK_IMPLIED,
    "step3": THINK_IMPLIED,
    "seed_oss": SEED_THINK,
    "granite": GRANITE_THOUGHT,
    "mistral": MISTRAL_THINK,
}
VLLM_NAMES = [*(name for name in TAGS if name != "think"), HARMONY]

_DEEPSEEK_TURN = "<\uff5cAssistant\uff5c>"
_THINKING = re.compile(r"\bthinking\b")  # what V3.1 asks
# (in the template, format); the first that is found counts
_SIGNS = (
    ("<|channel|>", HARMONY),
    ("[THINK]", "mistral"),
    ("Here is my thought process", "granite"),
    ("<response></response>", "granite"),
    ("<seed:think>", "seed_oss"),
    ("<think>", "think"),
    ("</think>", "think"),
)


def detect_reasoning(template: str) -> str | None:
    """The format whose blocks a chat template renders."""
    name = next((name for sign, name in _SIGNS if sign in template), None)
    if name == "think" and _DEEPSEEK_TURN in template and not _THINKING.search(template):
        return "deepseek_r1"  # its first templates do not begin the thought, and the models may leave its mark out
    return name


def reasoning_names() -> list[str]:
    """Every name that can be asked for."""
    return sorted([HARMONY, *TAGS])
