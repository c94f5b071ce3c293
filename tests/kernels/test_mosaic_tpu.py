"""The Mosaic TPU kernels, interpreted on the CPU: copies happen when they are waited for, memory starts as NaN."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental.pallas import tpu as pltpu

from pallas_kernels.paged_attention import PagedAttentionResult, paged_attention, pool_layout
from pallas_kernels.paged_attention.api import ORDER
from pallas_kernels.paged_attention.example_batches import Arrays, Batch, assemble, make
from pallas_kernels.paged_attention.example_batches import sequence_contents as contents
from pallas_kernels.paged_attention.example_specs import BY_NAME, REFUSED, SPECS, Spec
from tests.kernels.batches import error, lengths, with_a_broken_sequence, with_stale_entries

TPU = pool_layout("tpu")
NAN = float("nan")
FLOAT32 = jnp.dtype("float32")
BFLOAT16 = jnp.dtype("bfloat16")
# Every batch of a spec has these sizes, so it is interpreted by one program.
SIZES = {"sequences": 9, "tokens": 72, "pages": 140, "table_width": 24}
# Decodes at page and block edges one less, met, one more; a prompt, chunks that end inside pages, one token left over.
EDGES = Batch(((0, 1), (15, 1), (31, 1), (32, 1), (127, 1), (128, 1), (0, 33), (95, 30), (127, 3)), fill=NAN, **SIZES)

# In CI: what the shapes are like, and all options at once.
IN_CI = ("smol135", "mha_page8", "mqa16", "window_of_one", "all_at_once")
MATRIX = pytest.mark.matrix
AT_EDGES = [
    pytest.param(spec, id=spec.name, marks=() if spec.name in IN_CI else MATRIX)
    for spec in SPECS
    if spec.name != "page_of_256"
]
# In CI: every spec, and three with every type that a pool may have; two of them are refused in 8 bits.
SELECTED = [
    pytest.param(
        spec, dtype, id=f"{spec.name} {dtype}",
        marks=() if dtype == BFLOAT16 or spec.name in ("smol135", "mha_page8", "gqa4_page16") else MATRIX,
    )
    for spec in SPECS for dtype in (BFLOAT16, FLOAT32, jnp.dtype("float8_e4m3fn"))
]  # fmt: skip


@cache
def program(spec: Spec, implementation: str) -> Callable[..., PagedAttentionResult]:
    return jax.jit(partial(paged_attention, score=spec.score, implementation=implementation, layout=TPU))


def interpret(spec: Spec, arrays: Arrays) -> PagedAttentionResult:
    with pltpu.force_tpu_interpret_mode(pltpu.InterpretParams(detect_races=True)):
        return jax.block_until_ready(program(spec, "mosaic_tpu")(*arrays.args, **arrays.options))


def reference(spec: Spec, arrays: Arrays) -> PagedAttentionResult:
    """In float32, of the values as they are."""
    floats = [x.astype(jnp.float32) for x in arrays[:4]]
    return program(spec, "reference")(*floats, *arrays.args[4:], **arrays.options)


def check(spec: Spec, batch: Batch, dtype: jnp.dtype, capfd: pytest.CaptureFixture[str]) -> None:
    """Outputs within twice the error of rounding the exact ones; the pool bit for bit; no races; padding finite."""
    arrays = make(spec, batch, TPU, dtype)
    got, want = interpret(spec, arrays), reference(spec, arrays)
    assert "RACE DETECTED" not in capfd.readouterr().out
    new = sum(fresh for _, fresh in batch.lengths)
    exact, out = np.asarray(want.out), np.asarray(got.out, np.float32)
    assert np.isfinite(out).all()
    assert error(out[:new], exact[:new]) <= allowed(exact[:new], dtype)
    pool = np.asarray(want.pool.astype(dtype), np.float32)
    np.testing.assert_array_equal(np.asarray(got.pool, np.float32)[:, 1:], pool[:, 1:])


def allowed(exact: np.ndarray, dtype: jnp.dtype) -> float:
    if dtype == FLOAT32:
        return 1e-5 * max(1.0, float(np.abs(exact).max(initial=0)))
    return 2 * error(exact.astype(dtype).astype(np.float32), exact)


def test_a_tpu_tries_the_kernel_first() -> None:
    assert ORDER["tpu"] == ("mosaic_tpu", "xla")


@pytest.mark.parametrize(("spec", "dtype"), SELECTED)
def test_every_spec_selects_the_kernel_unless_a_reason_is_listed(spec: Spec, dtype: jnp.dtype) -> None:
    arrays = make(spec, Batch(((3, 1), (0, 2))), TPU, BFLOAT16)
    args = arrays._replace(pool=arrays.pool.astype(dtype)).args
    call = partial(paged_attention, score=spec.score, layout=TPU)
    jaxpr = str(jax.make_jaxpr(call)(*args, **arrays.options))
    refused = ("mosaic_tpu", spec.name, str(dtype)) in REFUSED
    assert ("paged_attention_chunk" in jaxpr) != refused


@pytest.mark.parametrize("spec", AT_EDGES)
def test_every_spec_at_page_and_block_edges(spec: Spec, capfd: pytest.CaptureFixture[str]) -> None:
    refused = ("mosaic_tpu", spec.name, "bfloat16") in REFUSED
    check(spec, EDGES, FLOAT32 if refused else BFLOAT16, capfd)


@pytest.mark.parametrize("name", [pytest.param("smol135", marks=MATRIX), "all_at_once"])
def test_float32(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    check(BY_NAME[name], EDGES, FLOAT32, capfd)


def test_several_blocks_and_many_pages_a_row(capfd: pytest.CaptureFixture[str]) -> None:
    """Rows of the page table over several registers, a ring of buffers that goes round; pages of 256."""
    spec = replace(BY_NAME["gqa4_page16"], q_heads=2, kv_heads=1)
    lengths, sizes = ((3000, 1), (511, 1), (512, 1), (4095, 9)), {"sequences": 5, "tokens": 16, "table_width": 300}
    check(spec, Batch(lengths, pages=520, fill=NAN, **sizes), BFLOAT16, capfd)
    large = Batch(((255, 1), (256, 1), (700, 5), (0, 30)), sequences=5, tokens=40, pages=12, table_width=4, fill=NAN)
    check(BY_NAME["page_of_256"], large, BFLOAT16, capfd)


def test_a_window_of_more_than_a_block(capfd: pytest.CaptureFixture[str]) -> None:
    spec = replace(BY_NAME["window"], q_heads=2, kv_heads=1, window=700)
    sizes = {"sequences": 4, "tokens": 16, "table_width": 100}
    check(spec, Batch(((1100, 1), (700, 1), (1200, 9)), pages=210, fill=NAN, **sizes), BFLOAT16, capfd)


def test_a_step_without_tokens_and_sequences_without_tokens(capfd: pytest.CaptureFixture[str]) -> None:
    spec = BY_NAME["smol135"]
    check(spec, replace(EDGES, lengths=()), BFLOAT16, capfd)
    check(spec, replace(EDGES, lengths=((40, 1), (7, 0), (33, 20), (12, 0), (0, 5))), BFLOAT16, capfd)


@pytest.mark.parametrize("name", ["all_at_once", "window_over_blocks"])
@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[])
@given(pairs=lengths(), seed=st.integers(0, 2**16), fill=st.sampled_from([1e4, NAN]))
def test_ragged_batches(name: str, pairs: tuple[tuple[int, int], ...], seed: int, fill: float) -> None:
    spec, batch = BY_NAME[name], Batch(pairs, seed=seed, fill=fill, **SIZES)
    arrays = make(spec, batch, TPU, BFLOAT16)
    got, want = interpret(spec, arrays), reference(spec, arrays)
    new = sum(fresh for _, fresh in pairs)
    exact = np.asarray(want.out)[:new]
    assert error(np.asarray(got.out, np.float32)[:new], exact) <= allowed(exact, BFLOAT16) + 1e-6
    pool = np.asarray(want.pool.astype(BFLOAT16), np.float32)
    np.testing.assert_array_equal(np.asarray(got.pool, np.float32)[:, 1:], pool[:, 1:])


@pytest.mark.parametrize("poison", [NAN, pytest.param(1e4, marks=MATRIX)])
def test_free_pages_and_stale_table_entries_change_nothing(poison: float) -> None:
    spec = BY_NAME["all_at_once"]
    clean, poisoned = (make(spec, replace(EDGES, fill=fill), TPU, BFLOAT16) for fill in (0.0, poison))
    stale = with_stale_entries(poisoned, EDGES, spec)
    a, b = (np.asarray(interpret(spec, arrays).out, np.float32) for arrays in (clean, stale))
    assert np.array_equal(a, b)


@pytest.mark.parametrize("name", [pytest.param("smol135", marks=MATRIX), "all_at_once"])
def test_batch_mates_order_and_chunking_change_nothing(name: str) -> None:
    """Bitwise, for a decode and for a chunk: alone, among others, and cut elsewhere."""
    spec = BY_NAME[name]

    def rows(pairs: list[tuple[int, int]], ours: int) -> np.ndarray:
        drawn = [contents(spec, 1000 if i == ours else i, sum(pair)) for i, pair in enumerate(pairs)]
        arrays = assemble(spec, Batch(tuple(pairs), seed=ours, fill=NAN, **SIZES), drawn, TPU, BFLOAT16)
        first = sum(new for _, new in pairs[:ours])
        return np.asarray(interpret(spec, arrays).out, np.float32)[first : first + pairs[ours][1]]

    decode, chunk = rows([(160, 1)], 0), rows([(100, 60)], 0)
    for pairs, ours in (([(160, 1), (7, 1), (0, 20)], 0), ([(31, 1), (250, 1), (160, 1), (5, 3), (40, 9)], 2)):
        assert np.array_equal(rows(pairs, ours), decode)
    assert np.array_equal(rows([(3, 1), (16, 5), (100, 60), (0, 4)], 2), chunk)
    assert np.array_equal(rows([(1, 1), (100, 17), (64, 9)], 1), chunk[:17])
    assert np.array_equal(rows([(117, 43), (1, 2)], 0), chunk[17:])


def test_a_sequence_that_is_not_finite_harms_only_itself() -> None:
    """A decode or a chunk whose new keys and values are NaN, in one tile with another chunk."""
    spec = BY_NAME["smol135"]
    batch = replace(EDGES, lengths=((40, 1), (70, 1), (20, 9), (33, 20), (5, 12)))
    arrays = make(spec, batch, TPU, BFLOAT16)
    whole = np.asarray(interpret(spec, arrays).out, np.float32)
    for broken in (1, 3):
        spoilt, its, others = with_a_broken_sequence(arrays, batch, broken)
        out = np.asarray(interpret(spec, spoilt).out, np.float32)
        assert np.array_equal(out[others], whole[others])
        assert np.isnan(out[its]).any()


def test_fp8_pages(capfd: pytest.CaptureFixture[str]) -> None:
    """Keys and values rounded to 8 bits when they are written, attended to in bfloat16."""
    spec = BY_NAME["smol135"]
    eight = jnp.dtype("float8_e4m3fn")
    arrays = make(spec, EDGES, TPU, BFLOAT16)
    stored = arrays._replace(pool=arrays.pool.astype(eight))
    got, want = interpret(spec, stored), reference_over(spec, stored, eight)
    assert "RACE DETECTED" not in capfd.readouterr().out
    new = sum(fresh for _, fresh in EDGES.lengths)
    exact = np.asarray(want.out)[:new]
    assert error(np.asarray(got.out, np.float32)[:new], exact) <= allowed(exact, BFLOAT16)
    pools = (np.asarray(x.pool.astype(jnp.float32))[:, 1:] for x in (got, want))
    np.testing.assert_array_equal(*pools)


def reference_over(spec: Spec, arrays: Arrays, stored: jnp.dtype) -> PagedAttentionResult:
    """The reference in float32 over keys and values that were rounded to `stored`."""
    q, k, v, pool = arrays[:4]
    k, v = (x.astype(stored).astype(jnp.float32) for x in (k, v))
    args = (q.astype(jnp.float32), k, v, pool.astype(jnp.float32), *arrays.args[4:])
    return program(spec, "reference")(*args, **arrays.options)
