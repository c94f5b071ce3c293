"""The description of this card that deviceless compiles need, as XLA gives it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

from gpu.task import Skip


def save_target(out: Path) -> dict[str, Any]:
    """Write target_config.txtpb. Raises Skip on what is no GPU."""
    from jax._src.lib import xla_client  # there is no public way to it in 0.11.2

    device = jax.devices()[0]
    if device.platform != "gpu":
        raise Skip("only GPUs have a target description")
    description = xla_client.get_topology_for_devices(jax.devices()).target_config
    (out / "target_config.txtpb").write_text(description, encoding="utf-8")
    return {"target_config": "target_config.txtpb"}
