"""Compile every program. What they need says how many pages there are; the rest is compiled for those."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax

from jaxpaged.engine.startup.context import ServedModel, shorten_to_fit
from jaxpaged.engine.startup.device_state import DeviceState
from jaxpaged.engine.startup.lowering import lowering_of
from jaxpaged.engine.startup.setup import Setup
from jaxpaged.execution.batch import BatchLimits
from jaxpaged.execution.buckets import DECODES_ONLY, Buckets
from jaxpaged.execution.compiler import ProgramTable
from jaxpaged.execution.memory import MemoryPlan, MemoryUse
from jaxpaged.execution.programs import ProgramSet
from jaxpaged.execution.step import StepFunctions
from jaxpaged.execution.traced_programs import TracedPrograms
from jaxpaged.sampling.sampler import Sampler
from jaxpaged.sampling.stages import BUILTIN_STAGES
from jaxpaged.sampling.variant import Variant
from jaxpaged.sharding.rules import sharding_of


@dataclass(frozen=True, slots=True)
class Compiled:
    """The programs, the model and the pages they were compiled for, and the device state they run on."""

    served: ServedModel
    plan: MemoryPlan
    programs: ProgramSet
    table: ProgramTable
    state: DeviceState


def compile_programs(
    setup: Setup,
    served: ServedModel,
    cache: Path | None = None,
    *,
    progress: bool,
    fail_early: Callable[[], object],
) -> Compiled:
    """Compile the largest step and what knows no pages, to learn what they need; share out memory, compile the rest.

    `cache`: where earlier starts have left what they compiled and traced. `fail_early` is called in between and may
    raise. Raises MemoryPlanError.
    """
    traced = TracedPrograms(cache / "traced") if cache else None
    served, plan, programs, table = _measured(setup, served, traced, progress, fail_early)
    # A CPU fills the pool while programs are traced; elsewhere autotuning wants the memory first.
    state = DeviceState.allocate(served.pool, programs, plan) if setup.device.platform == "cpu" else None
    table.compile(programs.all(), lowering_of(traced, setup, served, programs), progress=progress)
    return Compiled(served, plan, programs, table, state or DeviceState.allocate(served.pool, programs, plan))


def program_set(setup: Setup, served: ServedModel, plan: MemoryPlan) -> ProgramSet:
    """The programs for these page counts."""
    config, limits = setup.config, setup.settings.limits
    decoder, pool = served.decoder, served.pool
    stages = (*BUILTIN_STAGES, *config.logits_processors)
    sampler = Sampler(decoder.spec.vocab_size, config.model.max_logprobs, config.model.logprobs_mode, stages)
    return ProgramSet(
        functions=StepFunctions(decoder, sampler, setup.mesh, pool),
        buckets=Buckets.for_limits(
            limits.max_num_batched_tokens,
            limits.max_num_seqs,
            setup.settings.sample_group,
            DECODES_ONLY.get(pool.layout.name, 0),
        ),
        limits=_batch_limits(setup, served, plan),
        leaves=tuple(
            jax.ShapeDtypeStruct(info.shape, info.dtype, sharding=sharding_of(setup.mesh, info.axes))
            for info in decoder.params
        ),
        pools=pool.abstract(plan.num_pages),
        prompt_embeds=config.model.enable_prompt_embeds,
        structured=not config.model.skip_tokenizer_init,
        variants=tuple(Variant[name.upper()] for name in config.compile.variants),
    )


def _batch_limits(setup: Setup, served: ServedModel, plan: MemoryPlan) -> BatchLimits:
    seqs, page = setup.settings.limits.max_num_seqs, served.pool.page_size
    return BatchLimits(
        max_num_seqs=seqs,
        rows=seqs + 1,
        history=served.context + 1,
        vocab_size=served.decoder.spec.vocab_size,
        pages=plan.num_pages,
        table_width=(-(-served.context // page),) * len(served.pool.groups),
        page_size=page,
    )


def _measured(
    setup: Setup,
    served: ServedModel,
    traced: TracedPrograms | None,
    progress: bool,
    fail_early: Callable[[], object],
) -> tuple[ServedModel, MemoryPlan, ProgramSet, ProgramTable]:
    """Page counts that leave room for what programs need, at a shorter context if they must, and what is compiled."""
    while True:
        table = ProgramTable(setup.config.compile.threads or max(1, os.cpu_count() or 1))
        guess = served.memory.plan(served.context, MemoryUse())
        programs = program_set(setup, served, guess)
        largest = list(programs.of_pages(programs.buckets.tokens[-1:]))
        for part in (largest, programs.without_pages()):
            table.compile(part, lowering_of(traced, setup, served, programs), progress=progress)
            fail_early()  # a damaged checkpoint is known by now
            use = MemoryUse(programs.state_bytes(), table.temporaries())
            fitting = shorten_to_fit(setup, served, use)
            if fitting is not served:
                break
        if fitting.decoder.params != served.decoder.params:  # the weights on their way would not suit it
            served.memory.plan(served.context, use)  # raises
        if fitting is served:
            break
        served = fitting
    plan = served.memory.plan(served.context, use)
    if plan.num_pages == guess.num_pages:
        return served, plan, programs, table
    table.forget(program.key for program in largest)
    return served, plan, program_set(setup, served, plan), table
