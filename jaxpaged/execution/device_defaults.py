"""What suits which device: the sizes that a user has left open."""

from __future__ import annotations

import re
from dataclasses import dataclass

from jaxpaged.config import EngineConfig, SchedulerConfig, SchedulerLimits
from jaxpaged.decoder.decoder import LayerLoop
from jaxpaged.errors import ConfigError


@dataclass(frozen=True, slots=True)
class DeviceDefaults:
    """The row of one kind of device; `kind` is a pattern for jax's device_kind.

    sample_group: the sampler works off so many rows at a time; None: all at once, because a loop of unknown length
    would wait for the host.
    """

    platform: str
    kind: str
    max_num_batched_tokens: int
    max_num_seqs: int
    block_size: int
    layer_loop: LayerLoop
    sample_group: int | None = None


# The first row that fits counts; the last of a platform fits every kind.
# Tokens: a full step of an 8B model in bfloat16 takes 0.1 to 0.3 s on each kind. Sequences: more where 70 GB hold them.
DEVICE_DEFAULTS = (
    DeviceDefaults("gpu", r"H[12]00|H800|G?B[23]00", 8192, 512, 32, "unroll"),
    DeviceDefaults("gpu", r"A100|A800", 4096, 256, 32, "unroll"),
    DeviceDefaults("gpu", r"\bL4\b", 2048, 256, 32, "unroll"),
    DeviceDefaults("gpu", r"", 2048, 256, 32, "unroll"),
    DeviceDefaults("tpu", r"TPU ?v?7", 8192, 512, 32, "scan"),
    DeviceDefaults("tpu", r"TPU v6", 8192, 256, 32, "scan"),
    DeviceDefaults("tpu", r"TPU v5( lite|e)", 2048, 256, 32, "scan"),
    DeviceDefaults("tpu", r"TPU v5", 4096, 512, 32, "scan"),
    DeviceDefaults("tpu", r"TPU v4", 4096, 256, 32, "scan"),
    DeviceDefaults("tpu", r"", 2048, 256, 32, "scan"),
    DeviceDefaults("cpu", r"", 256, 256, 32, "switch", sample_group=16),
)


@dataclass(frozen=True, slots=True)
class DeviceSettings:
    """The sizes of an engine on a known device: the user's where given, else what suits the device."""

    limits: SchedulerLimits
    page_size: int
    layer_loop: LayerLoop
    sample_group: int | None


def device_defaults(platform: str, kind: str) -> DeviceDefaults:
    """The row for a device. Raises ConfigError for a platform that nothing here knows."""
    for row in DEVICE_DEFAULTS:
        if row.platform == platform and re.search(row.kind, kind):
            return row
    raise ConfigError(f"no engine runs on {kind!r} of platform {platform!r}; use a CPU, a GPU or a TPU.")


def settings_on(config: EngineConfig, defaults: DeviceDefaults) -> DeviceSettings:
    """The user's choices completed by a row of the table."""
    loop = config.compile.layer_loop
    return DeviceSettings(
        limits=_limits(config.scheduler, defaults),
        page_size=config.cache.block_size or defaults.block_size,
        layer_loop=defaults.layer_loop if loop == "auto" else loop,
        sample_group=defaults.sample_group,
    )


def _limits(config: SchedulerConfig, defaults: DeviceDefaults) -> SchedulerLimits:
    """A step always has room for a token of every sequence: what the user has left open follows what was given."""
    tokens, seqs = config.max_num_batched_tokens, config.max_num_seqs
    if seqs is None:
        seqs = min(defaults.max_num_seqs, tokens or defaults.max_num_seqs)
    if tokens is None:
        tokens = max(defaults.max_num_batched_tokens, seqs)
    return SchedulerLimits(seqs, tokens, config.policy, config.max_queued_requests)
