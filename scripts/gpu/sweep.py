"""Other sizes of Hopper's kernels, each checked and timed: which are the defaults to be?"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from gpu import kernel_times
from gpu.attention import check_and_time
from gpu.attention_cases import CASES, QUICK_CASES, Case
from gpu.device import layout_for
from gpu.sizes import Sizes
from gpu.task import Setup, Task

CASE = MappingProxyType({case.name: case for case in (*CASES, *QUICK_CASES)})
DECODES = ("decode 64 x 1k", "decode 1 x 32k")
CHUNKS = ("prefill 4k", "prefill 1k")
# In the order of what they may gain. A field that a config has not is skipped.
VARIANTS: Mapping[str, Sizes] = MappingProxyType(
    {
        "weights in registers": Sizes(chunk={"weights_in_registers": True}),
        "splits of 256": Sizes(decode={"split": 256}),
        "chunk tiles 64 x 5": Sizes(chunk={"tile": 64, "max_stages": 5}),
        "splits of 1,024": Sizes(decode={"split": 1024}),
        "chunk tiles 64 x 5, weights in registers": Sizes(
            chunk={"tile": 64, "max_stages": 5, "weights_in_registers": True}
        ),
        "132 decode blocks": Sizes(decode={"blocks": 132}),
        "8 splits merged at once": Sizes(decode={"at_once": 8}),
        "chunk tiles 64 x 3": Sizes(chunk={"tile": 64, "max_stages": 3}),
        "decode ring of 64 KiB": Sizes(decode={"ring": 64 << 10}),
    }
)
QUICK_VARIANTS: Mapping[str, Sizes] = MappingProxyType({"blocks of 64 keys": Sizes(xla={"kv_block": 64})})


def tasks(setup: Setup) -> list[Task]:
    """After the times of each kernel as it is."""
    variants = QUICK_VARIANTS if setup.quick else VARIANTS
    return [*kernel_times.tasks(setup), *_tasks(variants, setup)]


def _tasks(variants: Mapping[str, Sizes], setup: Setup) -> list[Task]:
    return [Task(name, partial(_run, name, sizes, setup)) for name, sizes in variants.items()]


def _run(name: str, sizes: Sizes, setup: Setup) -> dict[str, Any]:
    """Milliseconds a layer of each case that the variant changes; wrong outputs are not timed."""
    layout = layout_for(setup)
    times, problems = {}, []
    for case in _cases(sizes, quick=setup.quick):
        accuracy, time = check_and_time(case, layout, sizes, lie=name in setup.lies)
        if time is None:
            problems.append(f"{case.name}: {accuracy.problem}")
        else:
            times[case.name] = time.median * 1e3
    return {"times_ms": times, "problem": "; ".join(problems)}


def _cases(sizes: Sizes, *, quick: bool) -> tuple[Case, ...]:
    if quick:
        return QUICK_CASES[:1]
    return tuple(CASE[name] for name in (*(DECODES if sizes.decode else ()), *(CHUNKS if sizes.chunk else ())))
