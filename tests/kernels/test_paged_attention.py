"""Every implementation of paged attention against the reference, and the reference against loops in float64."""

from collections.abc import Callable
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pallas_kernels.paged_attention import (
    PagedAttentionResult,
    PoolLayout,
    ScoreMod,
    Sequences,
    paged_attention,
    pool_layout,
)
from pallas_kernels.paged_attention.example_batches import Arrays, Batch, make, sequence_contents
from pallas_kernels.paged_attention.example_specs import BY_NAME, SPECS, Spec
from tests.kernels.batches import with_page_table

TOLERANCE = {"float32": 1e-5, "bfloat16": 2e-2, "float16": 3e-3}
FAST = ["xla"]  # the kernels have tests of their own: their layouts and interpreters differ
CHUNKS = Spec("chunks", 4, 2, 32, page_size=16, window=24, chunk=24)
CPU = pool_layout("cpu")
# Page and block edges one less, met, one more; decodes, prompts, chunks after a prefix; padding in every direction.
EDGES = Batch(
    ((0, 1), (15, 1), (31, 1), (32, 1), (127, 1), (128, 1), (0, 33), (95, 32), (127, 3)),
    sequences=11,
    tokens=80,
    table_width=24,
    pages=120,
)


@cache
def compiled(spec: Spec, implementation: str, layout: PoolLayout = CPU) -> Callable[..., PagedAttentionResult]:
    return jax.jit(partial(paged_attention, score=spec.score, implementation=implementation, layout=layout))


def run(spec: Spec, arrays: Arrays, implementation: str, layout: PoolLayout = CPU) -> PagedAttentionResult:
    return compiled(spec, implementation, layout)(*arrays.args, **arrays.options)


def assert_close(spec: Spec, batch: Batch, implementation: str, dtype: str, layout: PoolLayout = CPU) -> None:
    arrays = make(spec, batch, layout, jnp.dtype(dtype))
    want, got = (run(spec, arrays, name, layout) for name in ("reference", implementation))
    new = sum(fresh for _, fresh in batch.lengths)
    a, b = (np.asarray(result.out, np.float32)[:new] for result in (want, got))
    assert np.abs(a - b).max(initial=0) <= TOLERANCE[dtype] * max(1, np.abs(a).max(initial=0))
    assert np.isfinite(np.asarray(got.out, np.float32)).all()
    np.testing.assert_array_equal(np.asarray(want.pool)[:, 1:], np.asarray(got.pool)[:, 1:])


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("spec", [*SPECS, CHUNKS], ids=lambda spec: spec.name)
def test_every_spec_at_page_and_block_edges(spec: Spec, name: str) -> None:
    assert_close(spec, EDGES, name, "float32")


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(dtype: str, name: str) -> None:
    assert_close(BY_NAME["smol135"], EDGES, name, dtype)


@pytest.mark.parametrize("name", FAST)
def test_the_layout_of_another_backend(name: str) -> None:
    assert_close(BY_NAME["all_at_once"], EDGES, name, "float32", pool_layout("tpu"))


@st.composite
def lengths(draw: st.DrawFn) -> tuple[tuple[int, int], ...]:
    """Decodes first, then chunks; at most 6 sequences, 64 new tokens, 12 pages of 16 each."""
    old = st.one_of(st.integers(0, 128), st.sampled_from([15, 16, 17, 63, 64, 65, 127, 128]))
    singles = draw(st.lists(st.tuples(old, st.just(1)), max_size=4))
    chunks = draw(st.lists(st.tuples(old, st.integers(1, 30)), max_size=2))
    return tuple(singles + chunks)


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize(
    "spec", [BY_NAME["all_at_once"], BY_NAME["window_over_blocks"], CHUNKS], ids=lambda spec: spec.name
)
@settings(max_examples=12, deadline=None, derandomize=True)
@given(pairs=lengths(), seed=st.integers(0, 2**16), fill=st.sampled_from([0.0, float("nan")]))
def test_ragged_batches(spec: Spec, name: str, pairs: tuple[tuple[int, int], ...], seed: int, fill: float) -> None:
    batch = Batch(pairs, sequences=6, tokens=64, pages=70, table_width=12, seed=seed, fill=fill)
    assert_close(spec, batch, name, "float32")


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("poison", [float("nan"), 1e4])
@pytest.mark.parametrize("spec", [BY_NAME["all_at_once"], BY_NAME["smol135"]], ids=lambda spec: spec.name)
def test_what_lies_in_free_pages_and_unwritten_slots_changes_nothing(spec: Spec, poison: float, name: str) -> None:
    dtype = jnp.dtype(jnp.bfloat16)
    clean = make(spec, EDGES, CPU, dtype)
    poisoned = make(spec, Batch(**{**vars(EDGES), "fill": poison}), CPU, dtype)
    table = np.array(poisoned.sequences.page_table)
    free = np.setdiff1d(np.arange(1, EDGES.pages), table)[0]
    for row, pair in zip(table, EDGES.lengths, strict=False):
        row[-(-sum(pair) // spec.page_size) :] = free  # stale ids
    table[len(EDGES.lengths) :] = free
    stale = with_page_table(poisoned, table)
    a, b = (np.asarray(run(spec, arrays, name).out, np.float32) for arrays in (clean, stale))
    assert np.array_equal(a, b)


@pytest.mark.parametrize("spec", [BY_NAME["all_at_once"], BY_NAME["mqa16"], CHUNKS], ids=lambda spec: spec.name)
def test_the_reference_is_attention(spec: Spec) -> None:
    batch = Batch(((20, 1), (0, 9), (60, 4)), tokens=16, sequences=4)
    arrays = make(spec, batch, CPU)
    got = run(spec, arrays, "reference")
    contents = [sequence_contents(spec, batch.seed + i, sum(pair)) for i, pair in enumerate(batch.lengths)]
    want = np.concatenate(
        [
            attention_by_loops(spec, contents[i] * scales(spec, batch), old, arrays.options)
            for i, (old, _) in enumerate(batch.lengths)
        ]
    )
    assert np.abs(np.asarray(got.out)[: len(want)] - want).max() <= 1e-5


def test_the_steps_tokens_are_written_into_their_slots_and_nothing_else_is() -> None:
    spec, batch = BY_NAME["gqa4_page16"], Batch(((20, 1), (0, 18)), tokens=32, sequences=3, fill=7.0)
    arrays = make(spec, batch, CPU)
    got = np.asarray(run(spec, arrays, "reference").pool)
    want, table = np.array(arrays.pool), np.asarray(arrays.sequences.page_table)
    k, v = (np.asarray(x) for x in (arrays.k, arrays.v))
    for token, (sequence, position) in enumerate([(0, 20), *((1, i) for i in range(18))]):
        page = table[sequence, position // 16]
        want[1, page, 0, :, position % 16], want[1, page, 1, :, position % 16] = k[token], v[token]
    assert np.array_equal(got[:, 1:], want[:, 1:])
    assert np.array_equal(got[0], want[0])


def scales(spec: Spec, batch: Batch) -> np.ndarray:
    """What `make` multiplies queries, and nothing else, by."""
    heads = spec.q_heads + 2 * spec.kv_heads
    return np.where(np.arange(heads) < spec.q_heads, batch.key_scale, 1.0)[:, None, None]


def attention_by_loops(spec: Spec, contents: np.ndarray, old: int, options: dict[str, jax.Array]) -> np.ndarray:
    """float64 [new, hq, d] of one sequence, from the definition."""
    score, group = spec.score, spec.q_heads // spec.kv_heads
    out = np.zeros((contents.shape[1] - old, spec.q_heads, spec.head_dim))
    for i, position in enumerate(range(old, contents.shape[1])):
        for head in range(spec.q_heads):
            first = 0 if score.window is None else max(0, position - score.window + 1)
            first = first if score.chunk is None else max(first, position - position % score.chunk)
            keys = contents[spec.q_heads + head // group, first : position + 1].astype(np.float64)
            values = contents[spec.q_heads + spec.kv_heads + head // group, first : position + 1]
            logits = score.scale * keys @ contents[head, position]
            if score.soft_cap is not None:
                logits = score.soft_cap * np.tanh(logits / score.soft_cap)
            if spec.alibi:
                logits -= float(options["alibi_slopes"][head]) * (position - np.arange(first, position + 1))
            weights = np.exp(logits)
            sink = np.exp(float(options["sinks"][head])) if spec.sinks else 0.0
            out[i, head] = weights @ values / (weights.sum() + sink)
    return out


def changed(**arguments: object) -> Callable[[], PagedAttentionResult]:
    """A call with some arguments replaced."""
    call = make(BY_NAME["gqa4_page16"], Batch(((3, 1),)), CPU)._asdict()
    sequences = call.pop("sequences")
    arrays = {name: arguments.pop(name) for name in Sequences._fields if name in arguments}
    call |= call.pop("options") | {"score": ScoreMod(1.0), "layout": CPU} | arguments
    return lambda: paged_attention(**call, sequences=sequences._replace(**arrays))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("q", jnp.zeros((1, 32))),
        ("q", jnp.zeros((1, 8, 32), jnp.int32)),
        ("q", jnp.zeros((1, 7, 32))),
        ("k", jnp.zeros((2, 2, 32))),
        ("k", jnp.zeros((1, 2, 32), jnp.bfloat16)),
        ("v", jnp.zeros((1, 2, 16))),
        ("pool", jnp.zeros((2, 5, 2, 2, 16, 64))),
        ("pool", jnp.zeros((2, 5, 2, 16, 64))),
        ("layer", jnp.zeros((1,), jnp.int32)),
        ("layer", jnp.zeros(())),
        ("page_table", jnp.zeros((1, 1), jnp.int16)),
        ("page_table", jnp.zeros((2, 1), jnp.int32)),
        ("kv_lens", jnp.zeros((1, 1), jnp.int32)),
        ("cu_q_lens", jnp.zeros((1,), jnp.int32)),
        ("distribution", jnp.zeros((2,), jnp.int32)),
        ("sinks", jnp.zeros((4,))),
        ("alibi_slopes", jnp.zeros((8,), jnp.bfloat16)),
    ],
)
def test_a_wrong_shape_or_dtype_is_refused_by_name(argument: str, value: jax.Array) -> None:
    # A change of q's shape is first seen in the keys that no longer fit it.
    with pytest.raises(ValueError, match=r"^(q|k):" if argument == "q" else rf"^{argument}:"):
        changed(**{argument: value})()


def test_an_unknown_implementation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^implementation: paged_attention has no 'magic'"):
        changed(implementation="magic")()


@pytest.mark.parametrize(("field", "value"), [("window", 0), ("soft_cap", 0.0), ("soft_cap", -1.0), ("chunk", 0)])
def test_a_score_out_of_range_is_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{field}:"):
        ScoreMod(**{"scale": 1.0, field: value})


@pytest.mark.parametrize("name", ["mosaic_gpu", "mosaic_tpu"])
def test_the_kernels_refuse_chunks_in_a_sentence(name: str) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        changed(implementation=name, score=ScoreMod(1.0, window=8, chunk=8))()
    assert "have no chunks" in str(caught.value.exceptions[0])
