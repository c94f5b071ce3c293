"""A model directory as start-up reads it: its specification, before any weight."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from jaxpaged.config import ModelConfig
from jaxpaged.decoder.functional import FunctionalDecoder, Layout, Leaves, build_decoder
from jaxpaged.engine.startup.setup import Setup
from jaxpaged.errors import ConfigError
from jaxpaged.hub.model_directory import read_config, resolve_model
from jaxpaged.models.architecture import Architecture
from jaxpaged.models.experts import with_whole_experts
from jaxpaged.models.hf_config import dtype_of
from jaxpaged.models.registry import Registry
from jaxpaged.models.spec import DecoderSpec
from jaxpaged.quant.schemes import SCHEMES
from jaxpaged.weights.loader import load_weights

log = logging.getLogger("jaxpaged")

NAMES_SHOWN = 8
DEFAULT_CONTEXT = 2048  # for a config.json that does not say


@dataclass(frozen=True, slots=True)
class Model:
    """`longest` is the model's own context, `wanted` the one to serve if the memory holds it, in tokens.

    layout: how this machine wants the weights; None: as a checkpoint has them.
    """

    registry: Registry
    directory: Path
    architecture: Architecture
    spec: DecoderSpec
    dtype: jnp.dtype
    longest: int
    wanted: int
    layout: Layout | None = None

    def decoder(self, setup: Setup, context: int) -> FunctionalDecoder:
        """The decoder for a context; nothing is allocated."""
        quantization, devices = setup.config.model.quantization, setup.mesh.shape["model"]
        whole = setup.config.parallel.enable_expert_parallel
        spec = with_whole_experts(self.spec, devices) if whole else self.spec
        decoder = build_decoder(
            spec.served_at(context),
            dtype=self.dtype,
            tensor_parallel=devices,
            layer_loop=setup.settings.layer_loop,
            scheme=SCHEMES[quantization] if quantization else None,
            layer_parts=self.registry.layer_parts,
        )
        return decoder if self.layout is None else decoder.laid_out(self.layout)

    def load(self, setup: Setup, decoder: FunctionalDecoder, *, progress: bool) -> Leaves:
        """Its weights on the mesh. Raises WeightError or ConfigError."""
        config, rules = setup.config.model, self.architecture.weights
        return load_weights(
            self.directory,
            decoder,
            rules,
            setup.mesh,
            load_format=config.load_format,
            seed=config.seed,
            progress=progress,
        )


def read_model(config: ModelConfig, registry: Registry) -> Model:
    """Find the directory and read its config.json as a family of `registry` does. Raises ConfigError."""
    directory = resolve_model(config)
    settings = read_config(directory, config.hf_overrides)
    spec = registry.spec_from_config(settings)
    architecture = registry.find_architecture(settings)
    _say_what_is_ignored(directory, settings, architecture)
    longest = spec.max_position or DEFAULT_CONTEXT
    if config.max_model_len is not None and config.max_model_len > longest:
        raise ConfigError(
            f"max_model_len={config.max_model_len} is longer than the model's context of {longest} tokens; "
            "lower it, or change the model's rope scaling with hf_overrides."
        )
    dtype, wanted = _dtype(config, settings), config.max_model_len or longest
    return Model(registry, directory, architecture, spec, dtype, longest, wanted)


def _say_what_is_ignored(directory: Path, settings: Mapping[str, Any], architecture: Architecture) -> None:
    """A line for the directory's own Python code and one for keys of config.json, where there are such."""
    name = architecture.names[0]
    if settings.get("auto_map") or any(directory.glob("*.py")):
        log.warning("%s brings Python code of its own, which is never run: %s is implemented here", directory, name)
    if architecture.text_half:
        log.warning("%s is served for text only: images and videos are refused, their tensors are not loaded", name)
    unknown = architecture.unknown_keys(settings)
    if unknown:
        more = f" and {len(unknown) - NAMES_SHOWN} more" if len(unknown) > NAMES_SHOWN else ""
        keys = ", ".join(unknown[:NAMES_SHOWN]) + more
        log.warning("config.json sets %s, which mean nothing to %s and are ignored", keys, name)


def _dtype(config: ModelConfig, settings: Mapping[str, Any]) -> jnp.dtype:
    name: str = config.dtype
    if name == "auto":
        name = dtype_of(settings) or "bfloat16"
    if name not in ("bfloat16", "float16", "float32"):
        raise ConfigError(f"dtype {name!r} is not one of bfloat16, float16, float32; pass dtype= to choose.")
    return jnp.dtype(name)
