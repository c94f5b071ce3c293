"""RetNet, without its gate and group norm: Llama with retention in the place of attention (arXiv 2307.08621)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.kv.kind import CacheKind, IntArray, PageArray, PagePolicy
from jaxpaged.kv.policies import WindowPages
from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import llama
from jaxpaged.models.hf_config import head_dim_of, need
from jaxpaged.models.rope import Rope
from jaxpaged.models.spec import DecoderSpec
from jaxpaged.models.weight_rules import Rule, WeightRules


@dataclass(frozen=True, slots=True)
class StatePages(WindowPages):
    """As a window of two tokens, whose state a later token of the same page writes over.

    A page more is kept, so that the prefix cache is offered each full page before it is let go.
    """

    def first_kept(self, positions: IntArray) -> IntArray | None:
        return self._kept().first_kept(positions)

    def most_pages(self, tokens: int, chunk: int) -> int:
        return self._kept().most_pages(tokens, chunk)

    def resume_point(self, tokens: int, planned: int) -> int:
        return tokens if planned == tokens else tokens - tokens % self.page_size

    def _kept(self) -> WindowPages:
        return WindowPages(self.page_size, 2 * self.page_size)


@dataclass(frozen=True, slots=True)
class RetentionState:
    """A page has the state [heads, dim, dim] after its last token, in float32."""

    heads: int
    head_dim: int

    @property
    def keeps_all(self) -> bool:
        return False

    def page_array(self, layout: object, page_size: int) -> PageArray:
        return PageArray((self.heads, self.head_dim, self.head_dim), ("head", None, None), "float32")

    def policy(self, page_size: int) -> PagePolicy:
        return StatePages(page_size, 2)


@dataclass(frozen=True, slots=True)
class Retention:
    """out = q S, with S = decay * S before + k v^T; decay 1 - 2^-(2 + h) of head h."""

    heads: int
    head_dim: int

    @property
    def ropes(self) -> tuple[Rope, ...]:
        return ()

    def cache(self, tensor_parallel: int) -> CacheKind:
        return RetentionState(self.heads, self.head_dim)

    def served_at(self, max_position: int) -> Retention:
        return self

    def check(self) -> None:
        if self.head_dim < 1:
            raise UnsupportedModelError(f"config.json asks for heads of {self.head_dim} dimensions; give at least one.")


def spec_from_hf(config: Config) -> DecoderSpec:
    spec = llama.spec_from_hf(config)
    mixer = Retention(need(config, "num_attention_heads"), head_dim_of(config))
    return replace(spec, layers=tuple(replace(layer, mixer=mixer) for layer in spec.layers))


RETENTION_RULES = tuple(
    Rule(f"model.layers.{{i}}.retention.{name}_proj.weight", f"layers.{{i}}.mixer.{name}")
    for name in ("query", "key", "value", "out")
)
ARCHITECTURE = Architecture(
    names=("ToyRetNetForCausalLM",),
    spec_from_hf=spec_from_hf,
    weights=WeightRules((*RETENTION_RULES, *(rule for rule in llama.RULES if ".mixer." not in rule.target))),
    used_keys=llama.KEYS,
)
