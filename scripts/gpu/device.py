"""The layout of pages on the device that a child runs on."""

from __future__ import annotations

import jax

from gpu.task import Setup, Skip
from pallas_kernels.paged_attention import PoolLayout, device_layout, pool_layout


def layout_for(setup: Setup) -> PoolLayout:
    return pool_layout("xla") if setup.attention == "xla" else device_layout(jax.devices()[0])


def hopper_layout(setup: Setup) -> PoolLayout:
    """Raises Skip where Hopper's kernels do not serve attention."""
    layout = layout_for(setup)
    if layout.name != "hopper":
        raise Skip(f"attention runs in layout {layout.name}, without Hopper's kernels")
    return layout
