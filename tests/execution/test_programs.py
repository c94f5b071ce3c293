"""What the compiler made of the programs: no weight and no pool is copied, donated state is updated in place."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jax
import pytest

from jaxpaged.engine.startup.context import choose_context
from jaxpaged.engine.startup.model import read_model
from jaxpaged.engine.startup.programs import program_set as program_set_of
from jaxpaged.engine.startup.setup import set_up
from jaxpaged.execution.compiler import Program, lower
from jaxpaged.execution.memory import MemoryUse
from jaxpaged.execution.programs import ProgramSet
from jaxpaged.models.registry import REGISTRY
from jaxpaged.sampling.variant import Variant
from tests.engine import tiny
from tests.execution.hlo import large_copies

# A layer's smallest matrix must be larger than anything that a step of 8 tokens computes.
SIZES = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "num_hidden_layers": 3,
    "vocab_size": 4099,
}
PAGES = 400


def program_set(directory: Path, **options: Any) -> ProgramSet:
    """The programs of an engine that is not built: shapes are enough to compile."""
    (directory / "config.json").write_text(json.dumps({**tiny.LLAMA, **SIZES}))
    (directory / "model.safetensors").touch()
    small = {"dtype": "bfloat16", "max_num_batched_tokens": 8, "num_gpu_blocks_override": PAGES}
    config = tiny.engine_config(directory, enable_prompt_embeds=True, **{**small, **options})
    setup = set_up(config)
    served = choose_context(setup, read_model(config.model, REGISTRY))
    return program_set_of(setup, served, served.memory.plan(served.context, MemoryUse()))


def device_bytes(abstract: Any) -> int:
    """Bytes on one device of a pytree of ShapeDtypeStructs."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(abstract)
    )


def smallest_matrix(programs: ProgramSet) -> int:
    return min(device_bytes(leaf) for leaf in programs.leaves if len(leaf.shape) > 1)


def chosen(programs: ProgramSet, *names: str) -> list[Program]:
    """The backbones and others by name; of the logit_rows the smallest and the one that holds all the rest."""
    made = {program.name: program for program in programs.all()}
    return [made[name] for name in names]


def check(programs: ProgramSet, program: Program) -> None:
    compiled = lower(program).compile()
    assert large_copies(compiled.as_text(), smallest_matrix(programs)) == []
    donated = [program.arguments[index] for index in program.donate]
    assert compiled.memory_analysis().alias_size_in_bytes >= device_bytes(donated)
    # A copy that hides in another operation would still need room.
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * smallest_matrix(programs)


def test_on_one_device(tmp_path: Path) -> None:
    programs = program_set(tmp_path)
    names = "backbone 8", "backbone_with_embeds 8", "logits 8", "sample greedy 8", "sample logprobs 8"
    for program in chosen(programs, *names, "admit", "write_history"):
        check(programs, program)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_on_eight_devices(tmp_path: Path, dtype: str) -> None:
    programs = program_set(tmp_path, dtype=dtype, tensor_parallel_size=4, data_parallel_size=2)
    for program in chosen(programs, "backbone 8"):
        check(programs, program)


def test_the_check_sees_a_copied_weight(tmp_path: Path) -> None:
    """A scan over stacked layers copies each layer's weights out of the stack on a CPU, which is why it is not used."""
    programs = program_set(tmp_path, layer_loop="scan")
    compiled = lower(programs.backbone(8)).compile()
    assert large_copies(compiled.as_text(), smallest_matrix(programs) // SIZES["num_hidden_layers"])


def test_there_is_a_program_for_every_size_and_variant(tmp_path: Path) -> None:
    programs = program_set(tmp_path, max_num_batched_tokens=64, max_num_seqs=40)
    names = [program.name for program in programs.all()]
    assert len(names) == len(set(names))
    assert {name for name in names if "backbone " in name} == {f"backbone {n}" for n in (8, 16, 32, 48, 64)}
    assert {name for name in names if "logits" in name} == {f"logits {n}" for n in (8, 16, 32, 40)}
    assert {name for name in names if "sample" in name} == {f"sample {variant.name.lower()} 40" for variant in Variant}


def test_a_sampler_variant_may_be_left_out(tmp_path: Path) -> None:
    programs = program_set(tmp_path, variants=("plain", "logprobs"))
    names = {program.name.rpartition(" ")[0] for program in programs.all() if program.name.startswith("sample")}
    assert names == {"sample plain", "sample logprobs"}


def test_sizes_that_are_left_open_are_those_of_the_device(tmp_path: Path) -> None:
    programs = program_set(tmp_path, max_num_seqs=None, max_num_batched_tokens=None, num_gpu_blocks_override=9000)
    assert (programs.buckets.tokens[-1], programs.buckets.logit_rows[-1]) == (256, 256)
    assert (programs.buckets.sample_group, programs.limits.max_num_seqs) == (16, 256)
