"""A tiny random model with a tokenizer: whatever a grammar allows, it says with some probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxpaged.engine.engine import Engine
from jaxpaged.engine.grammars.follower import Grammars
from jaxpaged.engine.messages import ChildSample, EngineRequest
from jaxpaged.sampling.variant import Variant
from jaxpaged.sampling_params import SamplingParams
from jaxpaged.structured.checker import COMPILE_SECONDS
from jaxpaged.structured.compiler import GrammarCompiler
from tests.engine import tiny
from tests.engine.drive import rescheduled
from tests.names import number
from tests.text.samples import EOS, byte_level_backend, hf_tokenizer, vocabulary

END_TOKEN = byte_level_backend().token_to_id(EOS)
VOCAB = byte_level_backend().get_vocab_size() + 5  # more logits than tokens, as most models have
CONTEXT = 512


def write_model(directory: Path) -> Path:
    """Flat enough that at temperature 1 every token has its chance."""
    config = {**tiny.LLAMA, "vocab_size": VOCAB, "max_position_embeddings": CONTEXT, "eos_token_id": END_TOKEN}
    tensors = tiny.random_tensors(tiny.llama_shapes(config))
    tensors["lm_head.weight"] *= np.float32(0.3)
    tiny.write(directory, config, tensors)
    hf_tokenizer().save_pretrained(directory)
    return directory


def build(directory: Path, variants: Sequence[Variant] = tuple(Variant), **options: Any) -> Engine:
    sizes = {"max_num_seqs": 16, "max_num_batched_tokens": 64, **options}
    config = tiny.engine_config(directory, variants=tiny.names(variants), **sizes)
    config = replace(config, model=replace(config.model, skip_tokenizer_init=False))
    return Engine.build(config, progress=False)


def another(engine: Engine, *, compile_seconds: float = COMPILE_SECONDS, **options: Any) -> Engine:
    """tests.engine.drive.rescheduled(), with structured output."""
    made = rescheduled(engine, **options)
    assert engine.grammars is not None
    compiler = GrammarCompiler(engine.grammars.compiler.vocabulary)
    return replace(made, grammars=Grammars(made.scheduler, compiler, compile_seconds=compile_seconds))


def ask(name: str, prompt: Sequence[int] = (5, 6, 7), *, n: int = 1, **params: Any) -> EngineRequest:
    """A request at temperature 1 that may end. Its child samples, if any, are called <name>.1, <name>.2, ..."""
    sampling = SamplingParams(**{"temperature": 1.0, "seed": 1, "max_tokens": 200, **params})
    children = tuple(
        ChildSample(
            number(f"{name}.{index}"), replace(sampling, seed=None if sampling.seed is None else sampling.seed + index)
        )
        for index in range(1, n)
    )
    return EngineRequest(number(name), list(prompt), sampling, 0.0, eos_token_ids=(END_TOKEN,), children=children)


def text_of(tokens: Sequence[int]) -> str:
    return vocabulary().decode([token for token in tokens if token != END_TOKEN])
