"""From an EngineConfig to a ready engine: read the model, choose its context, compile, put together.

Weights and grammars' vocabulary are loaded while programs compile.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from jaxpaged.config import EngineConfig
from jaxpaged.decoder.functional import FunctionalDecoder, Leaves
from jaxpaged.engine.garbage import collector_paused
from jaxpaged.engine.grammars.follower import Grammars
from jaxpaged.engine.request_factory import RequestFactory
from jaxpaged.engine.startup.context import choose_context
from jaxpaged.engine.startup.info import engine_info
from jaxpaged.engine.startup.model import read_model
from jaxpaged.engine.startup.products import Products, choose_products
from jaxpaged.engine.startup.programs import Compiled, compile_programs
from jaxpaged.engine.startup.setup import Setup, set_up, use_compile_cache
from jaxpaged.execution.compiler import CompileCounter
from jaxpaged.execution.runner import Runner
from jaxpaged.models.custom import current_registry
from jaxpaged.models.registry import Registry
from jaxpaged.scheduling.scheduler import Scheduler
from jaxpaged.structured.compiler import GrammarCompiler
from jaxpaged.structured.vocabulary import GrammarVocabulary, load_vocabulary
from jaxpaged.weights.update import update_weights


def build_engine[Engine](
    make: Callable[..., Engine],
    config: EngineConfig,
    *,
    devices: Sequence[jax.Device] | None = None,
    mesh: Mesh | None = None,
    registry: Registry | None = None,
    progress: bool = True,
) -> Engine:
    """Load, compile and size everything; `make` is called with the parts. Raises ConfigError in one sentence."""
    began = time.monotonic()
    setup = set_up(config, devices, mesh)
    cache = use_compile_cache(config.compile)
    model = read_model(config.model, current_registry() if registry is None else registry)
    served, products = choose_products(setup, choose_context(setup, model), cache)
    with collector_paused(), ThreadPoolExecutor(2, thread_name_prefix="files") as files:
        vocabulary = files.submit(load_vocabulary, config.model, model.directory, served.decoder.spec.vocab_size)
        leaves = files.submit(model.load, setup, served.decoder, progress=progress)
        compiled = compile_programs(
            setup, served, cache, progress=progress, fail_early=lambda: leaves.done() and leaves.result()
        )
        return put_together(make, setup, compiled, products, leaves.result(), vocabulary.result(), began)


def load_model(config: EngineConfig, *, progress: bool = True) -> tuple[Path, FunctionalDecoder, Leaves]:
    """Only a model: its directory, its decoder and its prepared weights (`jaxpaged convert`). Raises ConfigError."""
    setup, model = set_up(config), read_model(config.model, current_registry())
    decoder = model.decoder(setup, model.wanted)
    return model.directory, decoder, model.load(setup, decoder, progress=progress)


def put_together[Engine](
    make: Callable[..., Engine],
    setup: Setup,
    compiled: Compiled,
    products: Products,
    leaves: Leaves,
    vocabulary: GrammarVocabulary | None,
    began: float,
) -> Engine:
    """The engine. Every program has run once when it is made."""
    config, served = setup.config, compiled.served
    runner = _runner(setup, compiled, leaves)
    runner.warm_up()
    width = served.decoder.spec.embedding.width if config.model.enable_prompt_embeds else None
    counter, scheduler = CompileCounter(), _scheduler(setup, compiled)
    return make(
        info=engine_info(setup, served, products, compiled.plan, began),
        scheduler=scheduler,
        runner=runner,
        make_request=RequestFactory(
            compiled.programs.functions.sampler,
            served.context,
            width,
            compiled.programs.variants,
            random.Random(config.model.seed),
        ),
        plans_in_flight=config.scheduler.plans_in_flight,
        compiles=lambda: counter.count,
        guard=counter.refusing if config.compile.guard == "refuse" else nullcontext,
        grammars=None if vocabulary is None else Grammars(scheduler, GrammarCompiler(vocabulary)),
    )


def _runner(setup: Setup, compiled: Compiled, leaves: Leaves) -> Runner:
    programs, decoder = compiled.programs, compiled.served.decoder
    rules = compiled.served.model.architecture.weights

    def update(leaves: Leaves, weights: Mapping[str, Any]) -> Leaves:
        """Replace leaves by checkpoint name -> array. Donates `leaves`."""
        return update_weights(leaves, weights, decoder, rules, setup.mesh)

    return Runner(
        programs=compiled.table,
        buckets=programs.buckets,
        limits=programs.limits,
        admission=programs.admission(),
        sampler=programs.functions.sampler,
        mesh=setup.mesh,
        leaves=leaves,
        **compiled.state._asdict(),
        updater=update,
    )


def _scheduler(setup: Setup, compiled: Compiled) -> Scheduler:
    served = compiled.served
    return Scheduler(
        setup.settings.limits,
        served.pool.groups,
        compiled.plan.num_pages,
        served.pool.page_size,
        served.context,
        setup.mesh.shape["data"],
        enable_prefix_caching=setup.config.cache.enable_prefix_caching,
    )
