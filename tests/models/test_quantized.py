"""Quantized checkpoints are refused in one short sentence that names the method."""

from __future__ import annotations

from typing import Any

import pytest

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.models.registry import spec_from_config
from tests.models.cases import CASE

LISTED = {"ignore": [f"model.layers.{i}.self_attn" for i in range(500)]}


@pytest.mark.parametrize(
    ("changes", "method"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4, **LISTED}}, r"gptq \(4 bits\)"),
        ({"quantization_config": {"quant_method": "awq", "w_bit": 4}}, r"awq \(4 bits\)"),
        ({"quantization_config": {"quant_method": "fp8", "fmt": "e4m3"}}, r"fp8 \(e4m3\)"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, r"bitsandbytes \(4 bits\)"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "_load_in_8bit": True}}, r"bitsandbytes \(8 bits\)"),
        (
            {"quantization_config": {"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"}},
            r"compressed-tensors \(nvfp4-pack-quantized\)",
        ),
        ({"quantization_config": {"producer": {"name": "modelopt"}, "quant_algo": "FP8"}}, r"modelopt \(FP8\)"),
        (
            {"quantization_config": {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4"}}},
            r"modelopt \(NVFP4\)",
        ),
        ({"compression_config": {"format": "pack-quantized"}}, r"an unnamed method \(pack-quantized\)"),
        ({"quantization": {"group_size": 64, "bits": 4}}, r"MLX \(4 bits\)"),
        ({"quantization": "int4"}, "int4"),
        ({"quantization_config": {"quant_method": "x\n" * 5000}}, r"x x x x.*\.\.\."),
        ({"quantization_config": ["odd", {}]}, "odd"),
    ],
)
def test_the_method_is_named(changes: dict[str, Any], method: str) -> None:
    with pytest.raises(
        UnsupportedModelError, match=rf"is quantized with .*{method}.*, which is not read yet"
    ) as caught:
        spec_from_config({**CASE["llama"].config, **changes})
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 260


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"quant_method": "bitsandbytes", "load_in_4bit": False, "load_in_8bit": False},
        {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": None, "kv_cache_quant_algo": "FP8"}},
    ],
)
def test_what_quantizes_nothing_is_left_over(settings: dict[str, Any]) -> None:
    config = CASE["llama"].config
    assert spec_from_config({**config, "quantization_config": settings}) == spec_from_config(config)
