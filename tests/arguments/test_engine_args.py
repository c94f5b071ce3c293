"""EngineArgs: vLLM's fields, all of them set, ignored with a log line or refused; an LLM can be made from it."""

from __future__ import annotations

import argparse
import inspect
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest

from jaxpaged.arguments.engine_args import AsyncEngineArgs, EngineArgs
from jaxpaged.arguments.settings import SETTINGS, config_of
from jaxpaged.arguments.vllm import VLLM_ONLY
from jaxpaged.arguments.vllm_server import VLLM_SERVER
from jaxpaged.config import EngineConfig
from jaxpaged.errors import ConfigError
from jaxpaged.llm import LLM
from tests.cli.vllm_names import ENGINE_ARGS, OLD_FLAGS, SERVE_FLAGS


def test_every_field_of_vllms_is_one_of_ours() -> None:
    assert set(ENGINE_ARGS) - {item.name for item in fields(EngineArgs)} == set()


def test_no_name_of_the_tables_is_misspelled() -> None:
    """What neither vLLM 0.33 nor an earlier version has helps nobody."""
    known = {*ENGINE_ARGS, *(flag.lstrip("-").replace("-", "_") for flag in (*SERVE_FLAGS, *OLD_FLAGS))}
    assert {*VLLM_ONLY, *VLLM_SERVER} - known == set()


def test_every_setting_is_a_field_with_the_defaults_of_llm() -> None:
    ours = {item.name for item in fields(EngineArgs)} - VLLM_ONLY.keys()
    assert ours == {*SETTINGS, "logits_processors", "use_tqdm_on_load"}
    plain = {name: value for name, value in vars(EngineArgs()).items() if name not in VLLM_ONLY}
    of_llm = {name: one.default for name, one in inspect.signature(LLM).parameters.items() if name in plain}
    assert {name: plain[name] for name in of_llm} == of_llm
    assert EngineArgs().create_engine_config() == EngineConfig()


def test_settings_reach_the_configuration() -> None:
    args = AsyncEngineArgs(
        "org/model", dtype="half", max_model_len=64, served_model_name=["a", "b"], scheduling_policy="priority",
        compile_threads=3, override_generation_config={"top_k": 5}, stream_interval=4,
    )  # fmt: skip
    args.max_num_seqs = 7
    config = args.create_engine_config()
    assert (config.model.model, config.model.dtype, config.model.max_model_len) == ("org/model", "float16", 64)
    assert config.model.served_names("") == ("a", "b")
    assert (config.scheduler.policy, config.scheduler.max_num_seqs, config.scheduler.stream_interval) == (
        "priority",
        7,
        4,
    )
    assert (config.compile.threads, config.model.override_generation_config) == (3, {"top_k": 5})


class _Bfloat16:
    """torch's dtypes are objects of this form."""

    def __str__(self) -> str:
        return "torch.bfloat16"


@pytest.mark.parametrize(
    ("name", "value", "part", "same"),
    [
        ("dtype", "float", "model", "float32"),
        ("dtype", _Bfloat16(), "model", "bfloat16"),
        ("max_model_len", -1, "model", None),
        ("load_format", "fastsafetensors", "model", "auto"),
        ("load_format", "hf", "model", "auto"),
        ("max_model_len", "auto", "model", None),
        ("seed", None, "model", 0),
        ("model", Path("a/b"), "model", "a/b"),
        ("max_logprobs", None, "model", 20),
    ],
)
def test_values_in_vllms_forms(name: str, value: Any, part: str, same: Any) -> None:
    assert getattr(getattr(config_of({name: value}), part), name) == same


def test_what_has_no_setting_is_logged_or_refused(caplog: pytest.LogCaptureFixture) -> None:
    EngineArgs(enforce_eager=True, reasoning_parser="qwen3").create_engine_config()
    assert [record.getMessage().partition("=")[0] for record in caplog.records] == ["enforce_eager", "reasoning_parser"]
    with pytest.raises(ConfigError, match=r"^kv_cache_dtype='fp8' cannot be had"):
        EngineArgs(kv_cache_dtype="fp8").create_engine_config()
    with pytest.raises(ConfigError, match="at least one sequence"):
        EngineArgs(max_num_seqs=0).create_engine_config()
    with pytest.raises(TypeError, match="tensor_paralel"):
        EngineArgs(tensor_paralel=1)


def test_an_llm_is_made_from_them_in_each_of_vllms_ways(tmp_path: Path) -> None:
    args = EngineArgs(tmp_path, max_model_len=64, plans_in_flight=3)
    for make in (lambda: LLM.from_engine_args(args), lambda: LLM(**asdict(args)), lambda: LLM(**vars(args))):
        with pytest.raises(ConfigError, match=r"config\.json"):
            make()


def test_flags_of_a_program_of_ones_own() -> None:
    parser = EngineArgs.add_cli_args(argparse.ArgumentParser())
    parser.add_argument("--mine", default=1)
    parsed = parser.parse_args(["--model", "m", "-tp", "2", "--enforce-eager", "--max-model-len", "1k"])
    args = EngineArgs.from_cli_args(parsed)
    assert (args.model, args.tensor_parallel_size, args.enforce_eager, args.max_model_len) == ("m", 2, True, 1000)
    config = config_of(vars(parsed))
    assert config.parallel.tensor_parallel_size == 2
    assert args.kv_cache_dtype == "auto"
