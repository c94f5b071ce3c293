"""Sizes that suit the device: from a table where the user has left them open."""

from __future__ import annotations

import pytest

from jaxpaged.config import CacheConfig, CompileConfig, EngineConfig, SchedulerConfig, SchedulerLimits
from jaxpaged.errors import ConfigError
from jaxpaged.execution.device_defaults import DEVICE_DEFAULTS, device_defaults, settings_on

# what jax calls them -> tokens in a step, sequences, the layer loop
DEVICES = [
    ("gpu", "NVIDIA H200", 8192, 512, "unroll"),
    ("gpu", "NVIDIA H100 80GB HBM3", 8192, 512, "unroll"),
    ("gpu", "NVIDIA GH200 480GB", 8192, 512, "unroll"),
    ("gpu", "NVIDIA B200", 8192, 512, "unroll"),
    ("gpu", "NVIDIA GB300", 8192, 512, "unroll"),
    ("gpu", "NVIDIA A100-SXM4-80GB", 4096, 256, "unroll"),
    ("gpu", "NVIDIA L4", 2048, 256, "unroll"),
    ("gpu", "NVIDIA L40S", 2048, 256, "unroll"),
    ("gpu", "NVIDIA GeForce RTX 5090", 2048, 256, "unroll"),
    ("tpu", "TPU v4", 4096, 256, "scan"),
    ("tpu", "TPU v5 lite", 2048, 256, "scan"),
    ("tpu", "TPU v5e", 2048, 256, "scan"),
    ("tpu", "TPU v5p", 4096, 512, "scan"),
    ("tpu", "TPU v5", 4096, 512, "scan"),
    ("tpu", "TPU v6 lite", 8192, 256, "scan"),
    ("tpu", "TPU v6e", 8192, 256, "scan"),
    ("tpu", "TPU7x", 8192, 512, "scan"),
    ("tpu", "TPU v7x", 8192, 512, "scan"),
    ("tpu", "TPU v99", 2048, 256, "scan"),
    ("cpu", "cpu", 256, 256, "switch"),
]


@pytest.mark.parametrize(("platform", "kind", "tokens", "seqs", "loop"), DEVICES)
def test_each_kind_of_device_has_its_row(platform: str, kind: str, tokens: int, seqs: int, loop: str) -> None:
    made = settings_on(EngineConfig(), device_defaults(platform, kind))
    assert made.limits == SchedulerLimits(seqs, tokens)
    assert (made.page_size, made.layer_loop) == (32, loop)
    assert made.sample_group == (16 if platform == "cpu" else None)


def test_every_row_is_that_of_a_device_above() -> None:
    assert {device_defaults(platform, kind) for platform, kind, *_ in DEVICES} == set(DEVICE_DEFAULTS)


def test_what_is_given_wins_on_every_device() -> None:
    config = EngineConfig(
        cache=CacheConfig(block_size=64),
        scheduler=SchedulerConfig(7, 9, "priority", 11),
        compile=CompileConfig(layer_loop="scan"),
    )
    for row in DEVICE_DEFAULTS:
        made = settings_on(config, row)
        assert made.limits == SchedulerLimits(7, 9, "priority", 11)
        assert (made.page_size, made.layer_loop) == (64, "scan")


@pytest.mark.parametrize(
    ("given", "seqs", "tokens"),
    [
        (SchedulerConfig(max_num_seqs=2000), 2000, 2000),
        (SchedulerConfig(max_num_seqs=8), 8, 256),
        (SchedulerConfig(max_num_batched_tokens=100), 100, 100),
        (SchedulerConfig(max_num_batched_tokens=4096), 256, 4096),
    ],
)
def test_a_step_has_room_for_a_token_of_every_sequence(given: SchedulerConfig, seqs: int, tokens: int) -> None:
    made = settings_on(EngineConfig(scheduler=given), device_defaults("cpu", "cpu"))
    assert (made.limits.max_num_seqs, made.limits.max_num_batched_tokens) == (seqs, tokens)


def test_an_unknown_platform_is_refused() -> None:
    with pytest.raises(ConfigError, match="'abacus'"):
        device_defaults("abacus", "wood")
