"""vLLM's arguments without a setting here: hints are taken with a log line, the rest is refused by name."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from jaxpaged.arguments.vllm import VLLM_ONLY, take_vllm_arguments
from jaxpaged.errors import ConfigError
from jaxpaged.llm import LLM

HINTS: list[tuple[str, Any, str]] = [
    ("trust_remote_code", True, "no code from a model directory is ever run"),
    ("code_revision", "main", "no code"),
    ("enforce_eager", True, "XLA compiles every program"),
    ("compilation_config", {"mode": 3, "cudagraph_mode": "FULL"}, "XLA compiles"),
    ("compilation_config", 3, "XLA compiles"),
    ("optimization_level", 2, "XLA compiles"),
    ("performance_mode", "throughput", "one mode"),
    ("swap_space", 8, "never swapped"),
    ("swap_space", 4, "never swapped"),
    ("disable_log_stats", True, "always kept"),
    ("worker_cls", "my.Worker", "no workers"),
    ("worker_extension_cls", "my.Extension", "no workers"),
    ("distributed_executor_backend", "mp", "one process"),
    ("distributed_executor_backend", "ray", "one process"),
    ("async_scheduling", False, "always overlap"),
    ("enable_chunked_prefill", False, "always cut into chunks"),
    ("tokenizer_mode", "slow", "fast ones"),
    ("structured_outputs_config", {"backend": "xgrammar"}, "llguidance"),
    ("attention_backend", "FLASH_ATTN", "device chooses"),
    ("limit_mm_per_prompt", {"image": 0}, "text models only"),
]
REFUSED: list[tuple[str, Any, str]] = [
    ("kv_cache_dtype", "fp8", "the model's dtype"),
    ("enable_lora", True, "not there yet"),
    ("speculative_config", {"method": "ngram"}, "not there yet"),
    ("structured_outputs_config", {"backend": "xgrammar", "disable_any_whitespace": True}, "StructuredOutputsParams"),
    ("structured_outputs_config", "xgrammar", "StructuredOutputsParams"),
    ("distributed_executor_backend", "external_launcher", "tensor_parallel_size"),
    ("pipeline_parallel_size", 2, "not there yet"),
    ("tokenizer_mode", "mistral", "Hugging Face"),
    ("runner", "pooling", "only generation"),
    ("cpu_offload_gb", 4, "on the device"),
    ("disable_sliding_window", True, "part of the model"),
    ("quantization_config", {"x": 1}, "quantization="),
]


@pytest.mark.parametrize(("name", "value", "says"), HINTS)
def test_a_hint_is_one_log_line(name: str, value: Any, says: str, caplog: pytest.LogCaptureFixture) -> None:
    take_vllm_arguments({name: value})
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"{name}={value!r} changes nothing: ")
    assert says in record.getMessage()


@pytest.mark.parametrize(("name", "value", "says"), REFUSED)
def test_what_is_no_hint_is_refused(name: str, value: Any, says: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError, match=f"^{name}=") as caught:
        take_vllm_arguments({"enforce_eager": True, name: value})
    assert says in str(caught.value)
    assert not caplog.records


def test_what_is_so_anyway_is_taken_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    for name, argument in VLLM_ONLY.items():
        for value in argument.same:
            take_vllm_arguments({name: value})
    assert not caplog.records


def test_a_secret_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        take_vllm_arguments({"hf_token": "hf_secret"})
    assert "hf_secret" not in str(caught.value)


def test_llm_takes_hints_and_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError, match=r"config\.json"):
        LLM(tmp_path, enforce_eager=True, trust_remote_code=True, swap_space=16)
    assert [record.getMessage().partition("=")[0] for record in caplog.records] == [
        "enforce_eager",
        "trust_remote_code",
        "swap_space",
    ]
