"""An engine in this process, and the files that its front end reads."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import jax

from jaxpaged.config import EngineConfig
from jaxpaged.engine.engine import Engine
from jaxpaged.frontend.model_files import FrontEnd, load_front_end


def start_engine(
    config: EngineConfig,
    chat_template: str | None,
    mesh: jax.sharding.Mesh | None,
    devices: Sequence[jax.Device] | None,
    *,
    progress: bool,
) -> tuple[Engine, FrontEnd]:
    """Build the engine, and read the tokenizer meanwhile: importing transformers alone takes a second."""
    config.validate()
    with ThreadPoolExecutor(1, thread_name_prefix="tokenizer") as pool:
        front_end = pool.submit(load_front_end, config.model, chat_template=chat_template)
        engine = Engine.build(config, devices=devices, mesh=mesh, progress=progress)
        return engine, front_end.result()
