"""Mixtures of experts as data: how a token chooses its experts, and what an expert computes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from jaxpaged.errors import ConfigError, UnsupportedModelError
from jaxpaged.models.spec import Activation, DecoderSpec, GatedMLP, LayerSpec


@dataclass(frozen=True, slots=True)
class ExpertGroups:
    """Experts come from the `kept` best of `count` equal groups; a group counts as its `best` highest scores' sum."""

    count: int
    kept: int
    best: int = 1


@dataclass(frozen=True, slots=True)
class Router:
    """Rows -> the `top_k` experts of each and their weights.

    scores: of all experts, from the router's logits; sparsemixer: PhiMoE's, with a softmax for each choice.
    renormalize: the chosen weights add up to 1. scale: multiplies them then.
    correction_bias: added to the scores for the choice, not for the weights (arXiv 2408.15664). bias: of the logits.
    jitter: the tolerance of sparsemixer.
    """

    experts: int
    top_k: int
    scores: Literal["softmax", "sigmoid", "sparsemixer"] = "softmax"
    renormalize: bool = True
    scale: float = 1.0
    groups: ExpertGroups | None = None
    correction_bias: bool = False
    bias: bool = False
    jitter: float = 0.01

    def check(self) -> None:
        """Raise UnsupportedModelError for numbers that config.json cannot mean."""
        if not 1 <= self.top_k <= self.experts:
            raise UnsupportedModelError(
                f"config.json asks for {self.top_k} experts a token of {self.experts}; fetch the file again."
            )
        if self.scores == "sparsemixer" and self.top_k != 2:
            raise UnsupportedModelError(f"sparsemixer chooses 2 experts a token; config.json asks for {self.top_k}.")
        if (groups := self.groups) is None:
            return
        if self.experts % groups.count or not 1 <= groups.kept <= groups.count:
            raise UnsupportedModelError(
                f"config.json asks for the best {groups.kept} of {groups.count} groups of {self.experts} experts, "
                "which cannot be formed; fetch the file again."
            )
        if self.top_k > groups.kept * (self.experts // groups.count):
            raise UnsupportedModelError(
                f"config.json asks for {self.top_k} experts a token of {groups.kept} groups with "
                f"{self.experts // groups.count} each; fetch the file again."
            )


@dataclass(frozen=True, slots=True)
class ClampedSwiGLU:
    """(up + 1) * gate * sigmoid(alpha * gate), gate at most `limit`, up within it: gpt-oss's activation."""

    limit: float
    alpha: float = 1.702


@dataclass(frozen=True, slots=True)
class SharedExperts:
    """An expert for every token beside the chosen; `gated`: times the sigmoid of a linear of the row."""

    mlp: GatedMLP
    gated: bool = False


@dataclass(frozen=True, slots=True)
class Experts:
    """The sum of a row's chosen experts, each down(act(gate(x)) * up(x)), by their weights, and the shared ones.

    scale_inputs: weights multiply the row before the expert, not its result (Llama 4).
    whole: each device of the `model` axis has whole experts, not a share of every one: --enable-expert-parallel.
    """

    router: Router
    size: int
    activation: Activation | ClampedSwiGLU
    bias: bool = False
    shared: SharedExperts | None = None
    scale_inputs: bool = False
    whole: bool = False

    def check(self) -> None:
        """Raise UnsupportedModelError for numbers that config.json cannot mean."""
        self.router.check()


def with_whole_experts(spec: DecoderSpec, devices: int) -> DecoderSpec:
    """The same model with whole experts on each of the devices. Raises ConfigError where they cannot be shared out."""

    def whole(layer: LayerSpec) -> LayerSpec:
        if not isinstance(layer.ffn, Experts):
            return layer
        if (count := layer.ffn.router.experts) % devices:
            raise ConfigError(
                f"enable_expert_parallel: {count} experts cannot be shared out evenly among {devices} devices; use a "
                f"tensor_parallel_size that divides {count}, or leave enable_expert_parallel out."
            )
        return replace(layer, ffn=replace(layer.ffn, whole=True))

    if not any(isinstance(layer.ffn, Experts) for layer in spec.layers):
        raise ConfigError("enable_expert_parallel is for mixtures of experts, and this model has none; leave it out.")
    return replace(spec, layers=tuple(map(whole, spec.layers)))
