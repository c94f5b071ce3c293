"""What `jaxpaged doctor` finds out about a model: what would be served of it, or why it cannot be."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxpaged.config import EngineConfig
from jaxpaged.engine.report import ContextChoice
from jaxpaged.engine.startup.context import ServedModel, choose_context
from jaxpaged.engine.startup.model import Model, read_model
from jaxpaged.engine.startup.setup import Setup, set_up
from jaxpaged.errors import ConfigError
from jaxpaged.execution.memory import MemoryUse
from jaxpaged.gguf.unpack import pointed_files
from jaxpaged.hub.model_directory import resolve_tokenizer
from jaxpaged.models.custom import current_registry
from jaxpaged.text.tokenizer import load_tokenizer
from jaxpaged.weights.loader import check_weights
from jaxpaged.weights.orbax_store import is_converted

_GIB = 2**30


def served(config: EngineConfig) -> dict[str, Any]:
    """Facts in the order in which start-up finds them; the first thing that ends it is the `problem`."""
    facts: dict[str, Any] = {"model": config.model.model}
    try:
        model = read_model(_without_weights(config).model, current_registry())
        facts |= _on_disk(model, config)
        setup = set_up(config)
        serving = choose_context(setup, model)
        facts |= _planned(serving, config)
        facts["weights"] = _weights(config, serving, setup)
    except (ConfigError, OSError, RuntimeError) as error:  # RuntimeError: jax has no devices
        facts["problem"] = str(error).splitlines()[0]
    return facts


def _without_weights(config: EngineConfig) -> EngineConfig:
    """The same model; of one on the hub only its small files are fetched."""
    return replace(config, model=replace(config.model, load_format="dummy"))


def _on_disk(model: Model, config: EngineConfig) -> dict[str, Any]:
    return {
        "directory": model.directory,
        "architecture": model.architecture.names[0],
        "layers": len(model.spec.layers),
        "width": model.spec.embedding.width,
        "vocabulary": model.spec.vocab_size,
        "dtype": str(model.dtype),
        "context": f"{model.longest:,} tokens",
        "tokenizer": _tokenizer(model, config),
    }


def _tokenizer(model: Model, config: EngineConfig) -> str:
    if config.model.skip_tokenizer_init:
        return "not used"
    try:
        tokenizer = load_tokenizer(resolve_tokenizer(config.model) or model.directory)
    except ConfigError as error:
        return f"none: {error}"
    template = "a chat template" if tokenizer.chat_template else "no chat template"
    return f"{len(tokenizer):,} tokens, {template}"


def _weights(config: EngineConfig, served: ServedModel, setup: Setup) -> str:
    model = served.model
    needed = f"{served.memory.weights / _GIB:.2f} GiB on each device"
    if config.model.load_format == "dummy" or is_converted(model.directory):
        return f"{needed}, {'random ones' if config.model.load_format == 'dummy' else 'converted'}"
    if pointed_files(model.directory) is None and not Path(str(config.model.model)).expanduser().exists():
        return f"{needed}, to be downloaded"
    count, size = check_weights(model.directory, served.decoder, model.architecture.weights, setup.mesh)
    return f"{needed}, from {count:,} tensors of {size / _GIB:.2f} GiB"


def _planned(served: ServedModel, config: EngineConfig) -> dict[str, Any]:
    """What start-up would plan; what programs need beside is known only when they are compiled."""
    plan = served.memory.plan(served.context, MemoryUse())
    parameters = sum(math.prod(info.shape) for info in served.decoder.params)
    choice = ContextChoice(served.context, served.model.longest, config.model.max_model_len).choice()
    return {
        "parameters": f"{parameters:,}",
        "served context": f"{choice.value}: {choice.reason}",
        "pool": f"at most {plan.num_pages[0]:,} pages of {served.pool.page_size} tokens",
        "memory": served.memory.table(plan, served.context).splitlines(),
    }
