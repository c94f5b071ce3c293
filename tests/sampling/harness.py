"""What the sampling tests share: a sampler call on plain numpy, and the obvious way to do the same."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from jaxpaged.sampling.sampler import Sampled, Sampler, SamplerRows
from jaxpaged.sampling.stages.stage import StageContext
from jaxpaged.sampling.variant import Variant
from jaxpaged.sampling_params import SamplingParams

CAPACITY = 40
PAD_TOKEN = 0  # what lies in the history after a row's own tokens


@cache
def _jitted(sampler: Sampler, variant: Variant) -> Any:
    return jax.jit(partial(sampler.sample, variant=variant))


def rows_of(sampler: Sampler, requests: Sequence[SamplingParams], prompt_lens: Sequence[int], **kw: Any) -> SamplerRows:
    encoded = [sampler.encode_row(p, n, p.seed or 0, **kw) for p, n in zip(requests, prompt_lens, strict=True)]
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *encoded)


def context(histories: Sequence[Sequence[int]], prompt_lens: Sequence[int], capacity: int = CAPACITY) -> StageContext:
    history = np.full((len(histories), capacity), PAD_TOKEN, np.int32)
    for row, tokens in enumerate(histories):
        history[row, : len(tokens)] = tokens
    length = jnp.asarray([len(tokens) for tokens in histories], jnp.int32)
    return StageContext(jnp.asarray(history), length, jnp.asarray(prompt_lens, jnp.int32))


def sample(
    logits: NDArray[np.float32],
    requests: Sequence[SamplingParams],
    *,
    variant: Variant = Variant.FULL,
    histories: Sequence[Sequence[int]] | None = None,
    prompt_lens: Sequence[int] | None = None,
    sampler: Sampler | None = None,
    eos_token_ids: Sequence[int] = (),
    targets: Sequence[int] | None = None,
    use_targets: Sequence[bool] | None = None,
) -> Sampled:
    """One call for len(requests) rows; each has a history of one prompt token unless told otherwise."""
    sampler = sampler or Sampler(logits.shape[1])
    histories = histories or [[1]] * len(requests)
    prompt_lens = prompt_lens or [len(tokens) for tokens in histories]
    ctx = context(histories, prompt_lens)
    extra = {}
    if targets is not None and use_targets is not None:
        extra = {"targets": jnp.asarray(targets, jnp.int32), "use_targets": jnp.asarray(use_targets)}
    rows = rows_of(sampler, requests, prompt_lens, eos_token_ids=eos_token_ids)
    step = _jitted(sampler, variant)
    return jax.tree.map(np.asarray, step(jnp.asarray(logits), rows, ctx, ctx.length - 1, **extra))


def log_softmax(x: NDArray[Any]) -> NDArray[np.float64]:
    x = x.astype(np.float64)
    shifted = x - x.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def kept_by_sorting(logits: NDArray[np.float32], params: SamplingParams) -> NDArray[np.bool_]:
    """Which tokens of one row may be drawn: min-p, then the first k and the nucleus of a stable descending sort."""
    weights = np.exp(logits.astype(np.float64) - logits.max())
    scaled = weights ** (1.0 / params.temperature)
    kept = scaled >= params.min_p
    order = np.argsort(-logits, kind="stable")
    if params.top_k > 0:
        kept[order[params.top_k :]] = False
    mass = np.where(kept, scaled, 0.0)
    before = np.cumsum(mass[order]) - mass[order]
    if params.top_p < 1.0:
        kept[order[before >= params.top_p * mass.sum()]] = False
    return kept
