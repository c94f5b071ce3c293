"""transformers' generate with the same shape, random weights and lengths, in the same process and on the same card."""

from __future__ import annotations

import importlib.util
import time
from types import MappingProxyType
from typing import Any

from gpu.engine_plan import Workload
from gpu.task import Skip


def bench_generate(
    config: MappingProxyType[str, Any], workload: Workload, batches: tuple[int, ...], *, on_cpu: bool
) -> dict[str, Any]:
    """Output tokens a second by batch size: static batches of `workload`'s mean lengths, in bfloat16.

    Raises Skip without torch.
    """
    if importlib.util.find_spec("torch") is None:
        raise Skip("torch is not installed")
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if not on_cpu and not torch.cuda.is_available():
        raise Skip("torch has no GPU")
    device = torch.device("cpu" if on_cpu else "cuda")
    settings = {key: value for key, value in config.items() if key not in ("model_type", "torch_dtype")}
    with device:
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(config["model_type"], **settings), dtype=torch.bfloat16
        ).eval()
    figures: dict[str, Any] = {"attention": model.config._attn_implementation}
    for batch in batches:
        tokens = torch.randint(0, config["vocab_size"], (batch, workload.prompt), device=device)
        _generate(model, tokens, 4)
        began = time.perf_counter()
        _generate(model, tokens, workload.answer)
        seconds = time.perf_counter() - began
        figures[f"batch_{batch}"] = {"seconds": seconds, "output_tokens_per_s": batch * workload.answer / seconds}
    return figures


def _generate(model: Any, tokens: Any, count: int) -> None:
    import torch

    with torch.inference_mode():
        model.generate(
            tokens, attention_mask=torch.ones_like(tokens), do_sample=True, min_new_tokens=count, max_new_tokens=count,
            pad_token_id=0,
        )  # fmt: skip
    if tokens.device.type == "cuda":
        torch.cuda.synchronize()
