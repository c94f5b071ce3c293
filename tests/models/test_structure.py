"""Head layouts for tensor parallelism, and runs of layers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpaged.models.heads import plan_heads
from jaxpaged.models.runs import find_runs


@pytest.mark.parametrize(
    ("heads", "kv_heads", "devices", "slots", "group"),
    [
        (32, 8, 1, 8, 4),
        (32, 8, 8, 8, 4),
        (8, 2, 8, 8, 1),  # each KV head on four devices
        (8, 1, 8, 8, 1),
        (32, 8, 16, 16, 2),
        (9, 3, 2, 4, 3),  # one zero slot
        (9, 3, 8, 8, 2),  # two slots a KV head, half filled, and two zero slots
        (6, 6, 4, 8, 1),
    ],
)
def test_slots_and_groups(heads: int, kv_heads: int, devices: int, slots: int, group: int) -> None:
    layout = plan_heads(heads, kv_heads, devices)
    assert (layout.slots, layout.group) == (slots, group)


@given(kv_heads=st.integers(1, 12), per_kv=st.integers(1, 9), devices=st.integers(1, 9))
def test_every_query_head_sits_once_beside_its_kv_head(kv_heads: int, per_kv: int, devices: int) -> None:
    layout = plan_heads(kv_heads * per_kv, kv_heads, devices)
    placed = [(q, kv) for kv, slot in zip(layout.kv, layout.queries, strict=True) for q in slot if q is not None]
    assert [q for q, _ in placed] == list(range(kv_heads * per_kv))
    assert all(kv == q // per_kv for q, kv in placed)
    assert layout.slots % devices == 0
    assert all(len(slot) == layout.group for slot in layout.queries)


@pytest.mark.parametrize(
    ("layers", "runs"),
    [
        ("aaaa", [(0, 1, 4)]),
        ("ababab", [(0, 2, 3)]),
        ("aaaaab" * 4 + "aa", [(0, 6, 4), (24, 1, 2)]),  # Gemma 3
        ("abbb", [(0, 1, 1), (1, 1, 3)]),
        ("abc", [(0, 1, 1), (1, 1, 1), (2, 1, 1)]),
    ],
)
def test_runs(layers: str, runs: list[tuple[int, int, int]]) -> None:
    assert [(run.start, run.period, run.repeats) for run in find_runs(layers)] == runs


@given(st.text("ab", max_size=14))
def test_runs_cover_every_layer_once_with_equal_layers_at_each_place(layers: str) -> None:
    places = [run.layers(place) for run in find_runs(layers) for place in range(run.period)]
    assert sorted(layer for place in places for layer in place) == list(range(len(layers)))
    assert all(len({layers[layer] for layer in place}) == 1 for place in places)
