"""vLLM's command line for a server: every name of its newest version, and lines of KServe, llm-d and public recipes."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import pytest

from jaxpaged.cli import engine_config, parse, take_vllm_server_flags
from jaxpaged.errors import ConfigError
from server.batches.__main__ import add_arguments as add_batch_arguments
from server.flags import add_arguments, parse_flags, server_options
from server.start import certificates_of
from tests.cli.vllm_names import OLD_FLAGS, SERVE_FLAGS

KSERVE = """
    /mnt/models --served-model-name llama "publishers/team/models/llama" --port 8000 --tensor-parallel-size 2
    --shutdown-timeout 30 --disable-access-log-for-endpoints /health,/metrics,/ping
    --ssl-certfile /var/run/tls.crt --ssl-keyfile /var/run/tls.key --enable-ssl-refresh
"""
RECIPES = [
    "-tp 8 --trust-remote-code --enable-expert-parallel --tool-call-parser hermes --enable-auto-tool-choice "
    "--reasoning-parser qwen3 --kv-cache-dtype auto --mm-encoder-tp-mode data --async-scheduling",
    "--compilation_config.pass_config.fuse_allreduce_rms true --max_num_batched_tokens 8k --attention_config.backend X "
    "--load_format auto --config_format auto --tokenizer_mode auto --limit-mm-per-prompt.video 0 -O3 --swap-space 16",
    "--data-parallel-size 2 --data-parallel-size-local 2 --data-parallel-address 10.0.0.1 --api-server-count 2 "
    "--data-parallel-rpc-port 13345 --disable-log-requests --host 0.0.0.0 --all2all-backend deepep",
    "--default-chat-template-kwargs.thinking true --default-chat-template-kwargs.reasoning_effort high "
    "--kernel-config.enable_flashinfer_autotune false --no-disable-hybrid-kv-cache-manager --generation-config vllm",
    "--max-cudagraph-capture-size 2048 -cc.use_inductor_graph_partition=true --linear-backend auto -ac.a+ 1,2 "
    "--no-enable-prefix-caching --gpu-memory-utilization 0.9",
    '--kv-transfer-config null --kv-events-config \'{"enable_kv_cache_events": false, "publisher": "null"}\' '
    "--task generate --load-format runai_streamer --dtype half -q int8",
]


def parsed(line: str) -> argparse.Namespace:
    args = parse_flags(shlex.split(line))
    take_vllm_server_flags(args)
    return args


@pytest.mark.parametrize("names", [SERVE_FLAGS, OLD_FLAGS], ids=["newest", "older"])
def test_every_name_of_vllms_is_a_flag(names: list[str]) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert set(names) - set(parser._option_string_actions) == set()


def test_kserves_command_line() -> None:
    args = parsed(KSERVE)
    config = engine_config(args)
    assert config.model.model == "/mnt/models"
    assert config.model.served_names("") == ("llama", "publishers/team/models/llama")
    assert (args.shutdown_timeout, args.disable_access_log_for_endpoints) == (30, "/health,/metrics,/ping")
    assert certificates_of(args).refresh is True


@pytest.mark.parametrize("line", RECIPES)
def test_public_command_lines(line: str) -> None:
    assert engine_config(parsed(f"m {line}")).model.model == "m"


@pytest.mark.parametrize("line", ["-O3", "-O 3", "-O=3", "--optimization_level=3", "-O.mode 3"])
@pytest.mark.parametrize(
    "short", ["-tp 2 -dp 2 -q int8", "-tp=2 -dp=2 -q=int8", "-tp 2 -dp 2 -q int8 -dcp 1 -pp 1 -ep -asc 2"]
)
def test_short_forms(line: str, short: str) -> None:
    config = engine_config(parsed(f"m {line} {short}"))
    assert (config.parallel.tensor_parallel_size, config.parallel.data_parallel_size) == (2, 2)
    assert (config.model.model, config.model.quantization) == ("m", "int8")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('--kv-transfer-config \'{"kv_connector": "NixlConnector", "kv_role": "kv_both"}\'', "own pages"),
        ('--kv-events-config \'{"enable_kv_cache_events": true, "publisher": "zmq"}\'', "not there yet"),
        ("--headless", "one machine"),
        ("--nnodes 2", "one machine"),
        ("-dcp 2", "not there yet"),
        ("--grpc", "HTTP"),
        ("--response-role bot", "assistant"),
        ("--lora-modules a=b", "adapters"),
        ("--logits-processors a.b", "LLM()"),
        ("--tool-parser-plugin /x.py", "--tool-call-parser"),
    ],
)
def test_what_is_not_there_is_refused_with_its_reason(line: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        engine_config(parsed(line))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "--shutdown-timeout -1",
        "--shutdown-timeout nan",
        "--engine-step-timeout 0",
        "--engine-restarts -1",
        "--max-body-bytes -1",
        "--default-chat-template-kwargs [1]",
        "--default-chat-template-kwargs {",
        "--ssl-cert-reqs 7",
        '--allowed-methods ["GET"',
        "--gpu-memory-utilization nan",
        "--hf-overrides 3",
        "--served-model-name",
        "--config",
    ],
)
def test_values_that_make_no_sense_end_in_one_sentence(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(line)
    assert ended.value.code == 2
    assert line.split()[0] in capsys.readouterr().err.splitlines()[-1]


def test_lists_come_as_vllm_writes_them_and_as_we_do() -> None:
    options = server_options(parsed("""--allowed-origins '["https://a", "https://b"]' --allowed-methods GET POST"""))
    assert (options.allowed_origins, options.allowed_methods) == (("https://a", "https://b"), ("GET", "POST"))
    assert (options.allowed_headers, server_options(parsed("")).allowed_origins) == (("*",), ())


def test_a_file_says_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "served-model-name: [a, b]\nallowed-origins: ['*']\ndefault-chat-template-kwargs: {enable_thinking: false}\n"
        "middleware: [x.Y]\nenable_ssl_refresh: true\ncompilation-config: {pass_config: {a: 1}}\n"
    )
    args = parsed(f"--config {path}")
    assert engine_config(args).model.served_names("") == ("a", "b")
    assert server_options(args).default_template_kwargs == {"enable_thinking": False}
    assert (server_options(args).allowed_origins, args.middleware, args.enable_ssl_refresh) == (("*",), ["x.Y"], True)
    monkeypatch.setenv("JAXPAGED_SERVED_MODEL_NAME", '["c", "d"]')
    assert engine_config(parsed("")).model.served_names("") == ("c", "d")


@pytest.mark.parametrize(("flag", "value"), [("--concurrency", "0"), ("--max-line-bytes", "-1")])
def test_batches_of_a_file_refuse_nonsense(flag: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("jaxpaged run-batch", "", add_batch_arguments, ["-i", "x", "-o", "y", flag, value])
    assert flag in capsys.readouterr().err.splitlines()[-1]


def test_batches_of_a_file_take_vllms_flags() -> None:
    line = "-i x -o y --model m --enable-prompt-tokens-details --enable-log-outputs --disable-log-stats"
    args = parse("jaxpaged run-batch", "", add_batch_arguments, line.split())
    take_vllm_server_flags(args)
    assert engine_config(args).model.model == "m"
