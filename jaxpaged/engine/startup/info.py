"""What start-up tells about the engine: EngineInfo, and in it what was chosen and why."""

from __future__ import annotations

import time

from jaxpaged.engine.messages import EngineInfo
from jaxpaged.engine.report import (
    ContextChoice,
    StartChoice,
    layers_choice,
    page_choice,
    pool_choice,
    render,
    step_choice,
)
from jaxpaged.engine.startup.context import ServedModel
from jaxpaged.engine.startup.products import Products
from jaxpaged.engine.startup.setup import Setup
from jaxpaged.execution.memory import MemoryPlan
from pallas_kernels.paged_attention import implementations


def engine_info(setup: Setup, served: ServedModel, products: Products, plan: MemoryPlan, began: float) -> EngineInfo:
    """`began`: when start-up did (time.monotonic)."""
    config, limits, model = setup.config.model, setup.settings.limits, served.model
    return EngineInfo(
        model=config.served_names(model.directory.name)[0],
        max_model_len=served.context,
        vocab_size=served.decoder.spec.vocab_size,
        num_pages=plan.num_pages[0],
        page_size=served.pool.page_size,
        max_num_seqs=limits.max_num_seqs,
        max_num_batched_tokens=limits.max_num_batched_tokens,
        backend=setup.device.platform,
        start_up_seconds=time.monotonic() - began,
        report=f"{render(choices(setup, served, products, plan))}\n{served.memory.table(plan, served.context)}",
    )


def choices(setup: Setup, served: ServedModel, products: Products, plan: MemoryPlan) -> list[StartChoice]:
    """What was chosen and why."""
    config, settings, pool = setup.config, setup.settings, served.pool
    suits = f"what suits {setup.device.device_kind}"
    dtype = "config.json says so" if config.model.dtype == "auto" else "as --dtype says"
    return [
        StartChoice("weights", str(served.model.dtype), dtype),
        ContextChoice(served.context, served.model.longest, config.model.max_model_len).choice(),
        page_choice(pool.page_size, "as --block-size says" if config.cache.block_size else suits),
        pool_choice(plan.num_pages[0], pool.page_size, config.cache),
        step_choice(settings.limits, config.scheduler, suits),
        layers_choice(settings.layer_loop, config.compile.layer_loop, suits),
        StartChoice("products", "oneDNN" if products.layout else "XLA", products.reason),
        StartChoice("kernels", f"attention by {implementations(pool.layout)}", suits),
    ]
