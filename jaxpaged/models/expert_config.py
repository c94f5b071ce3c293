"""Reading the experts of a config.json, in the spellings that several families share."""

from __future__ import annotations

from typing import Any

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.models.architecture import Config
from jaxpaged.models.experts import ExpertGroups, Experts, Router, SharedExperts
from jaxpaged.models.hf_config import activation_of, given, need, need_one
from jaxpaged.models.spec import DecoderSpec, GatedMLP

GROUPED_KEYS = frozenset(
    {
        "moe_intermediate_size",
        "n_group",
        "norm_topk_prob",
        "num_experts_per_tok",
        "routed_scaling_factor",
        "topk_group",
    }
)


def grouped_router(config: Config, *experts: str) -> Router:
    """DeepSeek-V3's: sigmoids, a correction for the choice, the best groups by their best two. `experts`: spellings."""
    count, kept = given(config, "n_group", 1), given(config, "topk_group", 1)
    return Router(
        need_one(config, *experts),
        need(config, "num_experts_per_tok"),
        scores="sigmoid",
        renormalize=given(config, "norm_topk_prob", True),
        scale=float(given(config, "routed_scaling_factor", 1.0)),
        groups=ExpertGroups(count, kept, best=2) if count > 1 else None,
        correction_bias=True,
    )


def experts_of(config: Config, router: Router, shared: int = 0) -> Experts:
    """Experts of moe_intermediate_size; as many `shared` ones as one MLP that is so many times as wide."""
    size, activation = need(config, "moe_intermediate_size"), activation_of(config, "hidden_act", "silu")
    beside = SharedExperts(GatedMLP(size * shared, activation)) if shared else None
    return Experts(router, size, activation, shared=beside)


def after_dense_layers(spec: DecoderSpec, experts: Experts, dense: int) -> DecoderSpec:
    """The spec with experts in all layers but the first `dense` ones."""
    return spec.with_ffn(experts, range(dense, len(spec.layers)))


def every_layer(key: str, value: Any) -> int:
    """A number that a config may give per layer. Raises UnsupportedModelError where layers differ."""
    values = set(value) if isinstance(value, list) else {value}
    if len(values) != 1:
        raise UnsupportedModelError(f"config.json gives layers different {key}, {sorted(values)}; one is supported.")
    return int(values.pop())
