"""How a beam search is run: vLLM's BeamSearchParams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxpaged.errors import RequestError
from jaxpaged.params.keywords import suggest_keywords
from jaxpaged.params.ranges import FLOAT32_MAX, INT32_MAX, MAX_N
from jaxpaged.params.values import boolean, integer, real


@suggest_keywords
@dataclass(slots=True)
class BeamSearchParams:
    """vLLM's parameters of beam search, for LLM.beam_search. Raises RequestError."""

    beam_width: int
    max_tokens: int
    ignore_eos: bool = False
    temperature: float = 0.0
    length_penalty: float = 1.0
    include_stop_str_in_output: bool = False
    structured_outputs: dict[str, Any] | None = None
    skip_special_tokens: bool = True
    watermarking: bool | None = None

    def __post_init__(self) -> None:
        self.beam_width = integer("beam_width", self.beam_width, 1, MAX_N)
        self.max_tokens = integer("max_tokens", self.max_tokens, 1, INT32_MAX)
        self.temperature = real("temperature", self.temperature, 0.0, 2.0, "[0, 2]")
        bound = FLOAT32_MAX
        self.length_penalty = real("length_penalty", self.length_penalty, -bound, bound, "[-3.4e38, 3.4e38]")
        for name in ("ignore_eos", "include_stop_str_in_output", "skip_special_tokens"):
            boolean(name, getattr(self, name))
        for name in ("structured_outputs", "watermarking"):
            if getattr(self, name):
                raise RequestError(f"{name} is not served by this version; leave it out.", name)
