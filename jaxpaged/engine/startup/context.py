"""How long a context is served: the one that is wanted, or what the memory holds of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import jax

from jaxpaged.config import Attention
from jaxpaged.decoder.functional import FunctionalDecoder
from jaxpaged.engine.startup.model import Model
from jaxpaged.engine.startup.setup import Setup
from jaxpaged.errors import MemoryPlanError
from jaxpaged.execution.memory import MemoryPlanner, MemoryUse, weight_bytes
from jaxpaged.kv.pool import PoolGeometry
from jaxpaged.kv.spec import cache_groups
from pallas_kernels.paged_attention import PoolLayout, device_layout, pool_layout

log = logging.getLogger("jaxpaged")


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model at the context that is served, in tokens, and who shares out the memory for it."""

    model: Model
    context: int
    decoder: FunctionalDecoder
    memory: MemoryPlanner

    @property
    def pool(self) -> PoolGeometry:
        return self.memory.pool


def choose_context(setup: Setup, model: Model) -> ServedModel:
    """The context that is wanted, or, when the weights leave too little for the model's own, what they leave.

    Raises MemoryPlanError when the user has chosen the context, and when hardly any would be left.
    """
    return shorten_to_fit(setup, serve_at(setup, model, model.wanted), MemoryUse())


def shorten_to_fit(setup: Setup, served: ServedModel, use: MemoryUse) -> ServedModel:
    """The same model, at a shorter context if the memory demands it; `use` is what programs are known to need."""
    try:
        served.memory.plan(served.context, use)
        return served
    except MemoryPlanError:
        if setup.config.model.max_model_len is not None:
            raise
        context = served.memory.longest_context(served.context, use)
        if context is None:
            raise
    longest = served.model.longest
    log.warning("the context is %d of the model's %d tokens: the memory holds no more", context, longest)
    return serve_at(setup, served.model, context)


def serve_at(setup: Setup, model: Model, context: int) -> ServedModel:
    """The decoder and the pages for a context."""
    decoder = model.decoder(setup, context)
    groups, layout = cache_groups(decoder.layer_caches()), layout_of(setup.config.compile.attention, setup.device)
    pool = PoolGeometry(groups, layout, setup.settings.page_size, model.dtype, setup.mesh)
    weights = weight_bytes(decoder.params, setup.mesh)
    return ServedModel(model, context, decoder, MemoryPlanner(setup.config.cache, setup.settings.limits, pool, weights))


def layout_of(attention: Attention, device: jax.Device) -> PoolLayout:
    """How pages lie, which says what serves attention: see CompileConfig."""
    return pool_layout("xla") if attention == "xla" else device_layout(device)
