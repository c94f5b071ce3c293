"""Cards that cannot do all: one sentence each, which names what is done instead; and what the gate allows."""

import pytest

from gpu.card import missing_packages, no_hopper, too_little_memory, too_old_for_command_buffers
from gpu.faults import parse
from gpu.groups import BY_XLA, LAUNCHES, Group
from gpu.plan import SHARED, on_way, way_after
from gpu.watch import Outcome

GOOD = {"flax": "0.12.12", "orbax-checkpoint": "0.12.8", "jax": "0.11.2", "transformers": "5.17.0", "llguidance": "1.9"}


def test_a_driver_too_old_for_command_buffers() -> None:
    assert too_old_for_command_buffers({"driver_version": "580.159.04"}) == ""
    assert too_old_for_command_buffers({}) == ""
    old = too_old_for_command_buffers({"driver_version": "535.104.05"})
    assert "535.104.05 is older than 545" in old
    assert "without command buffers" in old


def test_a_card_that_is_no_hopper() -> None:
    assert no_hopper({"device": "NVIDIA H200", "capability": "9.0"}) == ""
    assert "NVIDIA B200 is no Hopper" in no_hopper({"device": "NVIDIA B200", "capability": "10.0"})
    assert "attention is measured by XLA" in no_hopper({"device": "cpu", "capability": ""})


def test_less_memory_than_the_plan() -> None:
    assert too_little_memory(100 << 30) == too_little_memory(0) == ""
    assert "may use 18 GiB" in too_little_memory(18 << 30)
    assert "Llama of 1B's shape is measured instead" in too_little_memory(18 << 30)


def test_packages_that_are_missing_or_old_are_named() -> None:
    assert missing_packages(GOOD) == []
    (old,) = missing_packages(GOOD | {"flax": "0.10.2"})
    assert "flax is 0.10.2, and the engine needs 0.12.10: carry its wheel" in old
    (gone,) = missing_packages({name: version for name, version in GOOD.items() if name != "llguidance"})
    assert "llguidance is not installed" in gone


@pytest.mark.parametrize(
    ("failed", "way"),
    [
        ((), "plain"),
        (("decode of one tile, bfloat16, command buffers on",), "launches"),
        (("decode of one tile, bfloat16, command buffers off",), "xla"),
        (("start of the process",), "xla"),
    ],
)
def test_what_the_ladder_allows(failed: tuple[str, ...], way: str) -> None:
    ladder = [Outcome("ladder", name, "hang") for name in failed]
    others = [Outcome("ladder", "chunk", "ok"), Outcome("ladder", "late", "skipped"), Outcome("specs", "x", "wrong")]
    assert way_after([*others, *ladder])[0] == way


def test_groups_run_in_the_way_that_is_allowed() -> None:
    engine = Group("engine", "engine", 1.0, fallbacks=(BY_XLA,))
    assert on_way(engine, "plain") == engine
    assert on_way(engine, "launches").way.environment == LAUNCHES.environment
    assert on_way(engine, "launches").fallbacks == (BY_XLA,)
    assert on_way(engine, "xla").way.attention == "xla"
    assert on_way(engine, "xla").fallbacks == ()
    gate = Group("ladder", "ladder", 1.0, way=SHARED)
    assert on_way(gate, "xla") == gate


def test_faults_are_of_four_kinds() -> None:
    assert parse(["a = b=hang"]) == {"a = b": "hang"}
    with pytest.raises(ValueError, match="'dance' is none of"):
        parse(["x=dance"])
