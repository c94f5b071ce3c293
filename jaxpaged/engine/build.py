"""From an EngineConfig to a ready engine: find the model, load it while programs compile, share out the memory."""

from __future__ import annotations

import logging
import math
import os
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxpaged.config import EngineConfig, ModelConfig
from jaxpaged.decoder.functional import FunctionalDecoder, build_decoder
from jaxpaged.engine.garbage import collector_paused
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
from jaxpaged.engine.request_factory import RequestFactory
from jaxpaged.errors import ConfigError, MemoryPlanError
from jaxpaged.execution.batch import BatchLimits
from jaxpaged.execution.buckets import Buckets
from jaxpaged.execution.compiler import CompileCounter, ProgramTable, enable_persistent_cache
from jaxpaged.execution.context_fit import longest_that_fits
from jaxpaged.execution.device_defaults import DeviceSettings, device_defaults, settings_on
from jaxpaged.execution.memory import GroupDemand, MemoryPlan, device_capacity, plan_memory
from jaxpaged.execution.programs import ProgramSet
from jaxpaged.execution.runner import Runner
from jaxpaged.execution.step import DeviceRows, Leaves, StepFunctions
from jaxpaged.hub.model_directory import read_config, resolve_model
from jaxpaged.kv.pool import KVPool, PoolGeometry
from jaxpaged.kv.spec import CacheGroup, cache_groups
from jaxpaged.models.architecture import Architecture
from jaxpaged.models.registry import REGISTRY, Registry
from jaxpaged.models.spec import DecoderSpec
from jaxpaged.quant.schemes import SCHEMES
from jaxpaged.sampling.sampler import Sampler
from jaxpaged.sampling.stages import BUILTIN_STAGES
from jaxpaged.scheduling.cache_groups import geometries
from jaxpaged.scheduling.scheduler import Scheduler
from jaxpaged.sharding.mesh import check_mesh, make_mesh
from jaxpaged.sharding.rules import sharding_of
from jaxpaged.structured.vocabulary import GrammarVocabulary, load_vocabulary
from jaxpaged.weights.loader import load_weights
from jaxpaged.weights.update import update_weights
from pallas_kernels.paged_attention import device_layout, implementations

log = logging.getLogger("jaxpaged")

CONTEXT_HEADROOM = 8 / 7  # of a context that was shortened to fit
DEFAULT_CONTEXT = 2048  # for a config.json that does not say


@dataclass(frozen=True, slots=True)
class Started:
    """The parts of an engine, ready to run."""

    info: EngineInfo
    scheduler: Scheduler
    runner: Runner
    make_request: RequestFactory
    counter: CompileCounter
    vocabulary: GrammarVocabulary | None


@dataclass(frozen=True, slots=True)
class _Model:
    registry: Registry
    directory: Path
    architecture: Architecture
    spec: DecoderSpec
    dtype: jnp.dtype
    limit: int
    longest: int


def start(
    config: EngineConfig,
    *,
    devices: Sequence[jax.Device] | None = None,
    mesh: Mesh | None = None,
    registry: Registry = REGISTRY,
    progress: bool = True,
) -> Started:
    """Load, compile and size everything. Raises ConfigError (with its subclasses) in one sentence."""
    began = time.monotonic()
    config.validate()
    if config.compile.persistent_cache and (directory := cache_directory(config)):
        enable_persistent_cache(directory)
    mesh = _mesh(config, devices, mesh)
    model = _read_model(config.model, registry)
    builder = _Builder(config, model, _decoder(config, model, mesh), mesh).fitted()
    with collector_paused(), ThreadPoolExecutor(2, thread_name_prefix="files") as pool:
        vocabulary = pool.submit(load_vocabulary, config.model, model.directory, builder.decoder.spec.vocab_size)
        weights = config.model
        leaves = pool.submit(
            load_weights,
            model.directory,
            builder.decoder,
            model.architecture.weights,
            mesh,
            load_format=weights.load_format,
            seed=weights.seed,
            progress=progress,
        )
        compiled = builder.compile(progress, lambda: leaves.done() and leaves.result())
        return compiled.builder.finish(compiled, leaves.result(), vocabulary.result(), began)


def load_model(config: EngineConfig, *, progress: bool = True) -> tuple[Path, FunctionalDecoder, tuple[jax.Array, ...]]:
    """Only a model: its directory, its decoder and its prepared weights (`jaxpaged convert`). Raises ConfigError."""
    mesh = _mesh(config, None, None)
    model = _read_model(config.model, REGISTRY)
    decoder = _decoder(config, model, mesh)
    rules, weights = model.architecture.weights, config.model
    leaves = load_weights(
        model.directory, decoder, rules, mesh, load_format=weights.load_format, seed=weights.seed, progress=progress
    )
    return model.directory, decoder, leaves


def cache_directory(config: EngineConfig) -> Path | None:
    """Where compiled programs are kept, private to the user; None, with a warning, where nothing can be written."""
    directory = Path(config.compile.cache_dir or Path.home() / ".cache" / "jaxpaged" / "xla").expanduser()
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        log.warning("the compile cache %s cannot be used (%s); starts will be slower", directory, error.strerror)
        return None
    return directory


def _mesh(config: EngineConfig, devices: Sequence[jax.Device] | None, mesh: Mesh | None) -> Mesh:
    if mesh is not None:
        return check_mesh(mesh)
    parallel = config.parallel
    return make_mesh(parallel.tensor_parallel_size, parallel.data_parallel_size, devices)


def _read_model(config: ModelConfig, registry: Registry) -> _Model:
    directory = resolve_model(config)
    settings = read_config(directory, config.hf_overrides)
    spec = registry.spec_from_config(settings)
    architecture = registry.find_architecture(settings)
    limit = spec.max_position or DEFAULT_CONTEXT
    if config.max_model_len is not None and config.max_model_len > limit:
        raise ConfigError(
            f"max_model_len={config.max_model_len} is longer than the model's context of {limit} tokens; "
            "lower it, or change the model's rope scaling with hf_overrides."
        )
    dtype = _dtype(config, settings)
    return _Model(registry, directory, architecture, spec, dtype, config.max_model_len or limit, limit)


def _dtype(config: ModelConfig, settings: Any) -> jnp.dtype:
    name = config.dtype
    if name == "auto":
        name = settings.get("dtype") or settings.get("torch_dtype") or "bfloat16"
    if name not in ("bfloat16", "float16", "float32"):
        raise ConfigError(f"dtype {name!r} is not one of bfloat16, float16, float32; pass dtype= to choose.")
    return jnp.dtype(name)


def _decoder(config: EngineConfig, model: _Model, mesh: Mesh) -> FunctionalDecoder:
    tensor_parallel = mesh.shape["model"]
    spec = model.spec.served_at(model.limit)
    quantization = config.model.quantization
    return build_decoder(
        spec,
        dtype=model.dtype,
        tensor_parallel=tensor_parallel,
        layer_loop=_settings(config, mesh).layer_loop,
        scheme=SCHEMES[quantization] if quantization else None,
        layer_parts=model.registry.layer_parts,
    )


def _settings(config: EngineConfig, mesh: Mesh) -> DeviceSettings:
    device = mesh.devices.flat[0]
    return settings_on(config, device_defaults(device.platform, device.device_kind))


class _DeviceState(NamedTuple):
    """What a Runner keeps on the devices beside the weights."""

    pool: KVPool
    rows: DeviceRows
    sampler_rows: Any
    logits: jax.Array


@dataclass(frozen=True, slots=True)
class _Compiled:
    builder: _Builder
    table: ProgramTable
    programs: ProgramSet
    plan: MemoryPlan
    state: _DeviceState


@dataclass(frozen=True)
class _Builder:
    """What stays the same while page counts and the context length are being decided."""

    config: EngineConfig
    model: _Model
    decoder: FunctionalDecoder
    mesh: Mesh

    @cached_property
    def platform(self) -> str:
        return self.mesh.devices.flat[0].platform

    @cached_property
    def settings(self) -> DeviceSettings:
        return _settings(self.config, self.mesh)

    @cached_property
    def groups(self) -> tuple[CacheGroup, ...]:
        return cache_groups(self.decoder.layer_caches())

    @cached_property
    def pool(self) -> PoolGeometry:
        layout = device_layout(self.mesh.devices.flat[0])
        return PoolGeometry(self.groups, layout, self.settings.page_size, self.model.dtype, self.mesh)

    @cached_property
    def sampler(self) -> Sampler:
        config, vocab = self.config.model, self.decoder.spec.vocab_size
        stages = (*BUILTIN_STAGES, *self.config.logits_processors)
        return Sampler(vocab, config.max_logprobs, config.logprobs_mode, stages)

    @cached_property
    def buckets(self) -> Buckets:
        limits = self.settings.limits
        return Buckets.for_limits(limits.max_num_batched_tokens, limits.max_num_seqs, self.settings.sample_group)

    def fitted(self, state: int = 0, temporaries: int = 0) -> _Builder:
        """This builder, or, when the model's own context is too long for the memory, one for a shorter context.

        That leaves CONTEXT_HEADROOM for what is not known yet. Raises MemoryPlanError when the user has chosen the
        context, and when hardly any would be left.
        """
        try:
            self.memory_plan(state, temporaries)
            return self
        except MemoryPlanError:
            if self.config.model.max_model_len is not None:
                raise
            limit = longest_that_fits(
                lambda tokens: self.shortened(int(tokens * CONTEXT_HEADROOM)).has_room(state, temporaries),
                self.model.limit,
                self.settings.page_size,
            )
            if limit is None:
                raise
        log.warning("the context is %d of the model's %d tokens: the memory holds no more", limit, self.model.longest)
        shorter = self.shortened(limit)
        return replace(shorter, decoder=_decoder(self.config, shorter.model, self.mesh))

    def shortened(self, limit: int) -> _Builder:
        return replace(self, model=replace(self.model, limit=limit))

    def has_room(self, state: int, temporaries: int) -> bool:
        try:
            self.memory_plan(state, temporaries)
        except MemoryPlanError:
            return False
        return True

    def compile(self, progress: bool, fail_early: Callable[[], object]) -> _Compiled:
        """Compile the largest step to learn what it needs, share out the memory, compile the rest."""
        table = ProgramTable(self.config.compile.threads or max(1, os.cpu_count() or 1))
        guess = self.memory_plan(state=0, temporaries=0)
        programs = self.programs(guess)
        largest = programs.backbone(self.buckets.tokens[-1])
        table.compile([largest], progress=progress)
        fail_early()  # a damaged checkpoint is known by now
        temporaries = table[largest.key].memory_analysis().temp_size_in_bytes
        try:
            plan = self.memory_plan(programs.state_bytes(), temporaries)
        except MemoryPlanError:
            shorter = self.fitted(programs.state_bytes(), temporaries)
            if shorter.decoder.params != self.decoder.params:  # the weights that are on their way would not suit it
                raise
            return shorter.compile(progress, fail_early)
        if plan.num_pages != guess.num_pages:
            table.compiled.clear()
            programs = self.programs(plan)
        # A CPU fills the pool while programs are traced; elsewhere autotuning wants the memory first.
        state = self.device_state(programs, plan) if self.platform == "cpu" else None
        table.compile(programs.all(), progress=progress)
        return _Compiled(self, table, programs, plan, state or self.device_state(programs, plan))

    def device_state(self, programs: ProgramSet, plan: MemoryPlan) -> _DeviceState:
        """Allocate everything beside the weights."""
        return _DeviceState(
            KVPool.allocate(self.pool, plan.num_pages).warm_up(),
            _zeros(programs.rows()),
            _initial_rows(self.sampler, programs),
            _zeros(programs.logits_buffer()),
        )

    def memory_plan(self, state: int, temporaries: int) -> MemoryPlan:
        """Page counts for the memory that weights, device rows and temporaries leave."""
        devices = self.mesh.local_devices
        shardings = [sharding_of(self.mesh, info.axes) for info in self.decoder.params]
        weights = sum(
            math.prod(sharding.shard_shape(info.shape)) * info.dtype.itemsize
            for info, sharding in zip(self.decoder.params, shardings, strict=True)
        )
        return plan_memory(
            self.config.cache,
            self.demands(),
            platform=self.platform,
            capacity=device_capacity(devices[0]),
            weights=weights,
            state=state,
            temporaries=temporaries,
            devices_per_host=len(devices),
        )

    def demands(self) -> tuple[GroupDemand, ...]:
        scheduler = self.settings.limits
        made = []
        for index, geometry in enumerate(geometries(self.groups, self.pool.page_size)):
            needed = geometry.most_pages(self.model.limit, scheduler.max_num_batched_tokens)
            made.append(GroupDemand(self.pool.page_bytes(index), needed, scheduler.max_num_seqs * needed + 1))
        return tuple(made)

    def programs(self, plan: MemoryPlan) -> ProgramSet:
        scheduler, page = self.settings.limits, self.pool.page_size
        width = -(-self.model.limit // page)
        limits = BatchLimits(
            max_num_seqs=scheduler.max_num_seqs,
            rows=scheduler.max_num_seqs + 1,
            history=self.model.limit + 1,
            vocab_size=self.decoder.spec.vocab_size,
            pages=plan.num_pages,
            table_width=(width,) * len(self.groups),
            page_size=page,
        )
        return ProgramSet(
            functions=StepFunctions(self.decoder, self.sampler, self.mesh, self.pool.layout),
            buckets=self.buckets,
            limits=limits,
            leaves=tuple(
                jax.ShapeDtypeStruct(info.shape, info.dtype, sharding=sharding_of(self.mesh, info.axes))
                for info in self.decoder.params
            ),
            pools=self.pool.abstract(plan.num_pages),
            prompt_embeds=self.config.model.enable_prompt_embeds,
            structured=not self.config.model.skip_tokenizer_init,
        )

    def finish(
        self, compiled: _Compiled, leaves: Leaves, vocabulary: GrammarVocabulary | None, began: float
    ) -> Started:
        """Put the parts together and run every program once."""
        config, programs, plan = self.config, compiled.programs, compiled.plan
        runner = Runner(
            programs=compiled.table,
            buckets=self.buckets,
            limits=programs.limits,
            admission=programs.admission(),
            sampler=self.sampler,
            mesh=self.mesh,
            leaves=leaves,
            **compiled.state._asdict(),
            updater=self.update_weights,
        )
        runner.warm_up()
        scheduler = Scheduler(
            self.settings.limits,
            self.groups,
            plan.num_pages,
            self.pool.page_size,
            self.model.limit,
            self.mesh.shape["data"],
            enable_prefix_caching=config.cache.enable_prefix_caching,
        )
        width = self.decoder.spec.embedding.width if config.model.enable_prompt_embeds else None
        factory = RequestFactory(self.sampler, self.model.limit, width, random.Random(config.model.seed))
        return Started(self.info(plan, began), scheduler, runner, factory, CompileCounter(), vocabulary)

    def update_weights(self, leaves: Leaves, weights: Mapping[str, Any]) -> Leaves:
        """Replace leaves by checkpoint name -> array. Donates `leaves`."""
        return update_weights(leaves, weights, self.decoder, self.model.architecture.weights, self.mesh)

    def info(self, plan: MemoryPlan, began: float) -> EngineInfo:
        config = self.config
        needed = [demand.pages_per_request for demand in self.demands()]
        return EngineInfo(
            model=config.model.served_model_name or config.model.model or self.model.directory.name,
            max_model_len=self.model.limit,
            vocab_size=self.decoder.spec.vocab_size,
            num_pages=plan.num_pages[0],
            page_size=self.pool.page_size,
            max_num_seqs=self.settings.limits.max_num_seqs,
            max_num_batched_tokens=self.settings.limits.max_num_batched_tokens,
            backend=self.platform,
            start_up_seconds=time.monotonic() - began,
            report=f"{render(self.choices(plan))}\n{plan.table(self.pool.page_size, needed)}",
        )

    def choices(self, plan: MemoryPlan) -> list[StartChoice]:
        """What was chosen and why."""
        config, cache, model = self.config, self.config.cache, self.model
        asked = config.model.dtype
        dtype = "config.json says so" if asked == "auto" else "as --dtype says"
        pool = "--num-gpu-blocks-override" if cache.num_gpu_blocks_override else None
        pool = pool or ("--kv-cache-memory-bytes" if cache.kv_cache_memory_bytes else None)
        kernels = f"attention by {implementations(self.pool.layout)}"
        suits = f"what suits {self.mesh.devices.flat[0].device_kind}"
        return [
            StartChoice("weights", str(model.dtype), dtype),
            ContextChoice(model.limit, model.longest, config.model.max_model_len).choice(),
            page_choice(self.pool.page_size, "as --block-size says" if cache.block_size else suits),
            pool_choice(plan.num_pages[0], self.pool.page_size, pool),
            step_choice(self.settings.limits, config.scheduler, suits),
            layers_choice(self.settings.layer_loop, config.compile.layer_loop, suits),
            StartChoice("kernels", kernels, suits),
        ]


def _zeros(abstract: Any) -> Any:
    make = jax.jit(
        lambda: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), abstract),
        out_shardings=jax.tree.map(lambda leaf: leaf.sharding, abstract),
    )
    return make()


def _initial_rows(sampler: Sampler, programs: ProgramSet) -> Any:
    abstract = programs.sampler_rows()

    def make() -> Any:
        one = sampler.init_rows(programs.limits.rows)
        return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[None], (programs.shards, *leaf.shape)), one)

    return jax.jit(make, out_shardings=jax.tree.map(lambda leaf: leaf.sharding, abstract))()
