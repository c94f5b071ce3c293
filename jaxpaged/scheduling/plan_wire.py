"""Plans as msgpack, for another host's runner. Not in plan.py: an engine in one process needs no msgspec."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from jaxpaged.scheduling.plan import StepPlan


def encode_plan(plan: StepPlan) -> bytes:
    """The plan as msgpack."""
    return _ENCODER.encode(plan)


def decode_plan(data: bytes) -> StepPlan:
    """Inverse of encode_plan. Raises msgspec.ValidationError on anything else."""
    return _DECODER.decode(data)


def _array_to_wire(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, np.ascontiguousarray(value).data.cast("B") if value.size else b""
    raise NotImplementedError(f"cannot encode {type(value).__name__} in a plan")


def _array_from_wire(kind: Any, value: Any) -> Any:
    dtype, shape, data = value
    return np.frombuffer(data, np.dtype(dtype)).reshape(shape)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_array_to_wire)
_DECODER = msgspec.msgpack.Decoder(StepPlan, dec_hook=_array_from_wire)
