"""EngineConfig: whatever a field is given, a value that cannot work is refused in one sentence that names the field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest

from jaxpaged import LLM
from jaxpaged.config import EngineConfig, Quantization, SchedulerConfig
from jaxpaged.errors import ConfigError

BAD: list[tuple[str, str, Any, str]] = [
    ("model", "model", 5, "model is 5; give a text or None"),
    ("model", "model", "", "model is an empty text"),
    ("model", "dtype", "float64", "dtype is 'float64'; give one of auto, bfloat16, float16, float32"),
    ("model", "quantization", "awq", f"quantization is 'awq'; give one of {', '.join(get_args(Quantization))} or None"),
    ("model", "load_format", "gguf", "load_format is 'gguf'"),
    ("model", "logprobs_mode", "x", "logprobs_mode is 'x'"),
    ("model", "generation_config", "x", "generation_config is 'x'"),
    ("model", "max_model_len", "4k", "max_model_len is '4k'; give an integer or None"),
    ("model", "max_model_len", 16.5, "max_model_len is 16.5; give an integer"),
    ("model", "max_model_len", True, "max_model_len is True; give an integer"),
    ("model", "max_model_len", 0, "give a positive number"),
    ("model", "seed", "x", "seed is 'x'; give an integer"),
    ("model", "seed", 2**70, "64 bits"),
    ("model", "max_logprobs", -2, "max_logprobs is -2"),
    ("model", "hf_overrides", [1], r"hf_overrides is \[1\]; give a mapping"),
    ("model", "served_model_name", ("a", ""), "holds an empty text"),
    ("model", "override_generation_config", [1], "give a mapping"),
    ("scheduler", "stream_interval", 0, "stream_interval is 0; give 1"),
    ("model", "served_model_name", 5, "served_model_name is 5; give a text"),
    ("model", "skip_tokenizer_init", "no", "skip_tokenizer_init is 'no'; give True or False"),
    ("cache", "block_size", 33, "power of two"),
    ("cache", "gpu_memory_utilization", "0.5", "gpu_memory_utilization is '0.5'; give a number"),
    ("cache", "gpu_memory_utilization", 1.5, "give a share"),
    ("cache", "kv_cache_memory_bytes", 0, "kv_cache_memory_bytes must be positive"),
    ("cache", "num_gpu_blocks_override", 1, "null page"),
    ("cache", "enable_prefix_caching", "no", "enable_prefix_caching is 'no'; give True or False"),
    ("scheduler", "max_num_seqs", 2.5, "max_num_seqs is 2.5; give an integer"),
    ("scheduler", "max_num_seqs", 0, "at least one sequence"),
    ("scheduler", "max_num_batched_tokens", 0, "at least one token"),
    ("scheduler", "policy", "lifo", "policy is 'lifo'; give one of fcfs, priority"),
    ("scheduler", "plans_in_flight", 0, "at least 1"),
    ("parallel", "tensor_parallel_size", 1.0, "tensor_parallel_size is 1.0; give an integer"),
    ("parallel", "tensor_parallel_size", 0, "at least 1"),
    ("compile", "layer_loop", "for", "layer_loop is 'for'"),
    ("compile", "threads", 0, "threads is 0"),
    ("compile", "variants", ("greedy", "x"), r"variants is \('greedy', 'x'\); give a tuple of one of greedy, plain"),
    ("compile", "variants", "greedy", "variants is 'greedy'; give a tuple"),
    ("compile", "variants", (), "variants is empty"),
]


@pytest.mark.parametrize(("part", "field", "value", "message"), BAD, ids=lambda item: str(item)[:20])
def test_a_bad_value_is_refused_by_name(part: str, field: str, value: Any, message: str) -> None:
    config = EngineConfig()
    bad = replace(config, **{part: replace(getattr(config, part), **{field: value})})
    with pytest.raises(ConfigError, match=message) as caught:
        bad.validate()
    assert "\n" not in str(caught.value)


def test_a_step_has_room_for_a_token_of_every_sequence() -> None:
    with pytest.raises(ConfigError, match=r"max_num_batched_tokens \(512\) is smaller than max_num_seqs \(1000\)"):
        EngineConfig(scheduler=SchedulerConfig(max_num_seqs=1000, max_num_batched_tokens=512)).validate()


@pytest.mark.parametrize("stage", ["package:Processor", object, 3])
def test_what_is_no_logit_stage(stage: Any) -> None:
    with pytest.raises(ConfigError, match="LogitStage"):
        EngineConfig(logits_processors=(stage,)).validate()


def test_the_defaults_are_good() -> None:
    EngineConfig().validate()  # raises ConfigError if one is not


def test_llm_refuses_before_anything_loads() -> None:
    with pytest.raises(ConfigError, match="max_num_seqs is '8'"):
        LLM(max_num_seqs="8")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="quantization is 'awq'"):
        LLM(quantization="awq")  # type: ignore[arg-type]
