"""Flags stand for EngineConfig: all of it, by vLLM's names, from the command line or the environment."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields

import pytest

from jaxpaged.arguments import flags
from jaxpaged.arguments.settings import FLAGLESS, PARTS, changed_settings
from jaxpaged.arguments.values import integer
from jaxpaged.cli.environment import from_environment
from jaxpaged.config import EngineConfig, SchedulerConfig
from jaxpaged.errors import ConfigError


def parse(*arguments: str, environ: dict[str, str] | None = None) -> EngineConfig:
    parser = argparse.ArgumentParser(exit_on_error=False)
    flags.add_engine_flags(parser)
    given = from_environment(parser, environ or {})
    return flags.engine_config(parser.parse_args([*given, *arguments]))


def test_every_field_has_a_flag_and_a_help_text() -> None:
    parts = {item.name for item in fields(EngineConfig)} - {"logits_processors"}
    assert {part.name for part in PARTS} == parts
    named = {item.name for part in PARTS for item in fields(part.config)} - FLAGLESS
    assert set(flags.HELP) == named


def test_names_are_vllms() -> None:
    parser = argparse.ArgumentParser()
    flags.add_engine_flags(parser)
    have = set(parser._option_string_actions)
    want = """
        --model --tokenizer --revision --dtype --max-model-len --seed --load-format --quantization --hf-overrides
        --download-dir --served-model-name --generation-config --max-logprobs --logprobs-mode --skip-tokenizer-init
        --enable-prompt-embeds --block-size --gpu-memory-utilization --kv-cache-memory-bytes --num-gpu-blocks-override
        --enable-prefix-caching --no-enable-prefix-caching --max-num-seqs --max-num-batched-tokens --scheduling-policy
        --max-num-queued-reqs --tensor-parallel-size -tp --data-parallel-size -dp
    """
    assert set(want.split()) <= have


def test_nothing_given_is_the_default() -> None:
    assert parse() == EngineConfig()
    assert changed_settings(parse()) == {}


def test_values_reach_their_fields() -> None:
    config = parse(
        *"model --max-model-len 32k --kv-cache-memory-bytes 4G --dtype float32 -tp 2".split(),
        "--no-enable-prefix-caching",
        *["--hf-overrides", '{"a": 1}', "--scheduling-policy", "priority", "--gpu-memory-utilization=0.5"],
    )
    assert (config.model.model, config.model.max_model_len, config.model.dtype) == ("model", 32000, "float32")
    assert config.model.hf_overrides == {"a": 1}
    marks = {"reasoning_start_str": "<think>", "reasoning_end_str": "</think>"}
    assert parse("--reasoning-config", json.dumps(marks)).model.reasoning_config == marks
    assert (config.cache.kv_cache_memory_bytes, config.cache.gpu_memory_utilization) == (4 * 2**30, 0.5)
    assert config.cache.enable_prefix_caching is False
    assert (config.parallel.tensor_parallel_size, config.scheduler.policy) == (2, "priority")
    changed = changed_settings(config)
    assert (changed["scheduling-policy"], changed["model"]) == ("priority", "model")


@pytest.mark.parametrize(
    ("text", "value"), [("7", 7), ("32k", 32000), ("32K", 32768), ("1.5k", 1500), ("-1", -1), ("2M", 2 * 2**20)]
)
def test_integers_may_be_short(text: str, value: int) -> None:
    assert integer(text) == value


@pytest.mark.parametrize("text", ["", "k", "1.5", "ten", "1kk", "0x10"])
def test_what_is_no_integer(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        integer(text)


def test_the_environment_has_a_twin_for_each_and_flags_win() -> None:
    environ = {
        "JAXPAGED_MAX_MODEL_LEN": "64",
        "JAXPAGED_DTYPE": "float32",
        "JAXPAGED_ENABLE_PREFIX_CACHING": "false",
        "JAXPAGED_MODEL": "from-env",
        "JAXPAGED_UNKNOWN": "ignored",
        "OTHER": "1",
    }
    config = parse(environ=environ)
    assert (config.model.model, config.model.max_model_len, config.model.dtype) == ("from-env", 64, "float32")
    assert config.cache.enable_prefix_caching is False
    config = parse("given", "--max-model-len", "128", "--enable-prefix-caching", environ=environ)
    assert (config.model.model, config.model.max_model_len) == ("given", 128)
    assert config.cache.enable_prefix_caching is True


@pytest.mark.parametrize("text", ["auto", "-1"])
def test_the_context_may_be_left_to_start_up(text: str) -> None:
    assert parse(f"--max-model-len={text}", environ={"JAXPAGED_MAX_MODEL_LEN": "64"}).model.max_model_len is None


def test_a_step_has_room_for_every_sequence() -> None:
    assert parse("--max-num-seqs", "2000").scheduler == SchedulerConfig(max_num_seqs=2000)  # tokens follow at start-up
    with pytest.raises(ConfigError, match="max_num_batched_tokens"):
        parse("--max-num-seqs", "2000", "--max-num-batched-tokens", "100")
