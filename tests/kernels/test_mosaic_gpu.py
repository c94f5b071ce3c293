"""The Mosaic GPU kernels for Hopper, interpreted on the CPU with race detection; memory starts as NaN."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.experimental.pallas import mosaic_gpu as plgpu

from pallas_kernels.paged_attention import PagedAttentionResult, paged_attention, pool_layout
from pallas_kernels.paged_attention.api import ORDER
from pallas_kernels.paged_attention.config import ChunkConfig, DecodeConfig
from pallas_kernels.paged_attention.example_batches import Arrays, Batch, assemble, make
from pallas_kernels.paged_attention.example_batches import sequence_contents as contents
from pallas_kernels.paged_attention.example_specs import BY_NAME, MODEL_SPECS, REFUSED, SPECS, Spec
from pallas_kernels.paged_attention.mosaic_gpu import attention as mosaic_gpu
from tests.kernels.batches import error, lengths, with_a_broken_sequence, with_stale_entries


@pytest.fixture
def exact_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device they do not; in the interpreter's np.matmul, which is OpenBLAS, a row's place matters."""
    monkeypatch.setattr(np, "matmul", lambda a, b, dtype: np.einsum("ik,kj->ij", a, b, dtype=dtype))


# The interpreter multiplies keys that are NaN, as a device does; what they give is masked.
pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered in matmul:RuntimeWarning")
HOPPER = pool_layout("hopper")
NAN = float("nan")
SERVED = ("bfloat16", "float8_e4m3fn")
OF_128 = Spec("of_128", 2, 1, 128)
BFLOAT16, FLOAT16 = jnp.dtype("bfloat16"), jnp.dtype("float16")
E4M3, E5M2 = jnp.dtype("float8_e4m3fn"), jnp.dtype("float8_e5m2")
# Few blocks, so that each takes several items, and short splits, so that there are several of a sequence.
DECODE, CHUNK = DecodeConfig(split=64, blocks=2), ChunkConfig(blocks=2)
# Every batch of a spec has these sizes, so it is interpreted by one program.
SIZES = {"sequences": 9, "tokens": 72, "pages": 160, "table_width": 24}
# Decodes at page, tile and split edges one less, met, one more; a prompt, chunks that end inside pages.
EDGES = Batch(((0, 1), (15, 1), (31, 1), (63, 1), (64, 1), (128, 1), (0, 33), (95, 30), (127, 3)), fill=NAN, **SIZES)
# A run takes ten seconds of processor time. In CI: what the shapes are like, and all options at once.
IN_CI = {BFLOAT16: ("smol135", "mha_page8", "mqa16", "window_of_one", "all_at_once"), E4M3: ("mqa16", "all_at_once")}
MATRIX = pytest.mark.matrix
AT_EDGES = [
    pytest.param(spec, stored, id=f"{spec.name} {stored}", marks=() if spec.name in IN_CI[stored] else MATRIX)
    for spec in SPECS
    for stored in (BFLOAT16, E4M3)
    if spec.name != "page_of_256"
]

# In CI: models as they are served, and one of them with every type that a pool may have.
SELECTED = [
    pytest.param(
        spec, dtype, id=f"{spec.name} {dtype}",
        marks=() if spec in MODEL_SPECS and (dtype in SERVED or spec == MODEL_SPECS[0]) else MATRIX,
    )
    for spec in dict.fromkeys((*SPECS, *MODEL_SPECS)) for dtype in (*SERVED, "float32", "float8_e5m2")
]  # fmt: skip

Attention = Callable[..., PagedAttentionResult]


@cache
def kernels(spec: Spec, decode: DecodeConfig = DECODE, chunk: ChunkConfig = CHUNK) -> Attention:
    attention = partial(mosaic_gpu.paged_attention, score=spec.score, layout=HOPPER, decode=decode, chunk=chunk)
    return jax.jit(attention)


@cache
def reference_program(spec: Spec) -> Attention:
    return jax.jit(partial(paged_attention, score=spec.score, implementation="reference", layout=HOPPER))


def interpret(arrays: Arrays, attention: Attention) -> PagedAttentionResult:
    options = {"alibi_slopes": None, "sinks": None} | arrays.options
    with plgpu.force_gpu_interpret_mode(plgpu.InterpretGPUParams(detect_races=True)):
        return PagedAttentionResult(*jax.block_until_ready(attention(*arrays.args, **options)))


def reference(spec: Spec, arrays: Arrays) -> PagedAttentionResult:
    """In float32, of the values as the pool holds them."""
    q, k, v, pool = arrays[:4]
    floats = (q, k.astype(pool.dtype), v.astype(pool.dtype), pool)
    return reference_program(spec)(*(x.astype(jnp.float32) for x in floats), *arrays.args[4:], **arrays.options)


def in_pages_of(dtype: jnp.dtype, arrays: Arrays) -> Arrays:
    return arrays._replace(pool=arrays.pool.astype(dtype))


def check(
    spec: Spec,
    batch: Batch,
    capfd: pytest.CaptureFixture[str] | None,
    *,
    dtype: jnp.dtype = BFLOAT16,
    stored: jnp.dtype | None = None,
    attention: Attention | None = None,
) -> None:
    """Outputs within twice the error of rounding the exact ones; the pool bit for bit; no races; padding finite."""
    arrays = in_pages_of(stored or dtype, make(spec, batch, HOPPER, dtype))
    got, want = interpret(arrays, attention or kernels(spec)), reference(spec, arrays)
    assert capfd is None or "RACE DETECTED" not in capfd.readouterr().out
    new = sum(fresh for _, fresh in batch.lengths)
    exact, out = np.asarray(want.out)[:new], np.asarray(got.out, np.float32)
    assert np.isfinite(out).all()
    assert error(out[:new], exact) <= 2 * error(exact.astype(dtype).astype(np.float32), exact) + 1e-6
    pool = np.asarray(want.pool.astype(stored or dtype), np.float32)
    np.testing.assert_array_equal(np.asarray(got.pool, np.float32)[:, 1:], pool[:, 1:])


def test_a_hopper_tries_the_kernels_first_and_other_gpus_do_not() -> None:
    assert ORDER["hopper"] == ("mosaic_gpu", "xla")
    assert ORDER["gpu"] == ("xla",)


@pytest.mark.parametrize(("spec", "dtype"), SELECTED)
def test_every_spec_selects_the_kernels_unless_a_reason_is_listed(spec: Spec, dtype: str) -> None:
    arrays = make(spec, Batch(((3, 1), (0, 2))), HOPPER, jnp.dtype("float32" if dtype == "float32" else "bfloat16"))
    args = arrays._replace(pool=arrays.pool.astype(dtype)).args
    jaxpr = str(jax.make_jaxpr(partial(paged_attention, score=spec.score, layout=HOPPER))(*args, **arrays.options))
    refused = ("mosaic_gpu", spec.name, dtype) in REFUSED
    assert ("wgmma" in jaxpr) != refused


@pytest.mark.parametrize(("spec", "stored"), AT_EDGES)
def test_every_spec_at_page_tile_and_split_edges(
    spec: Spec, stored: jnp.dtype, capfd: pytest.CaptureFixture[str]
) -> None:
    check(spec, replace(EDGES, table_width=24 if spec.page_size > 8 else 48), capfd, stored=stored)


@pytest.mark.parametrize("stored", [pytest.param(FLOAT16, marks=MATRIX), E5M2], ids=str)
def test_float16(stored: jnp.dtype, capfd: pytest.CaptureFixture[str]) -> None:
    check(BY_NAME["all_at_once"], EDGES, capfd, dtype=FLOAT16, stored=stored)


@pytest.mark.parametrize("stored", [BFLOAT16, pytest.param(E4M3, marks=MATRIX)], ids=str)
def test_pages_larger_than_a_tile_and_wide_heads(stored: jnp.dtype, capfd: pytest.CaptureFixture[str]) -> None:
    lengths = ((255, 1), (256, 1), (700, 5), (0, 30))
    large = Batch(lengths, sequences=5, tokens=40, pages=12, table_width=4, fill=NAN)
    check(BY_NAME["page_of_256"], large, capfd, stored=stored)
    check(Spec("wide", 4, 2, 256, window=100, soft_cap=20.0), EDGES, capfd, stored=stored)
    check(OF_128, EDGES, capfd, stored=stored)


@pytest.mark.parametrize(("tile", "stages"), [(64, 5), pytest.param(64, 3, marks=MATRIX), (128, 1)])
def test_tiles_and_stages_of_chunks(tile: int, stages: int, capfd: pytest.CaptureFixture[str]) -> None:
    chunk = replace(CHUNK, tile=tile, max_stages=stages)
    assert chunk.stages(128, 128, 2, 2) == stages
    long = ((3, 1), (500, 40), (0, 30))
    check(OF_128, replace(EDGES, lengths=long), capfd, attention=kernels(OF_128, DECODE, chunk))


def test_a_tile_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="tile: 96 is no power of two"):
        ChunkConfig(tile=96)
    with pytest.raises(NotImplementedError, match="does not fit"):
        ChunkConfig(wide_tile=256).stages(128, 256, 2, 2)


def test_default_sizes_over_many_pages(capfd: pytest.CaptureFixture[str]) -> None:
    """Several splits of 512 keys, rows of the page table that are wider than any sequence."""
    spec = replace(BY_NAME["gqa4_page16"], q_heads=2, kv_heads=1)
    lengths, sizes = ((3000, 1), (511, 1), (512, 1), (4095, 9)), {"sequences": 5, "tokens": 16, "table_width": 300}
    attention = kernels(spec, DecodeConfig(blocks=3), CHUNK)
    check(spec, Batch(lengths, pages=520, fill=NAN, **sizes), capfd, attention=attention)


def test_a_step_without_tokens_and_sequences_without_tokens(capfd: pytest.CaptureFixture[str]) -> None:
    spec = BY_NAME["smol135"]
    check(spec, replace(EDGES, lengths=()), capfd)
    check(spec, replace(EDGES, lengths=((40, 1), (7, 0), (33, 20), (12, 0), (0, 5))), capfd)


def test_a_step_of_decodes_alone_needs_no_kernel_for_chunks(capfd: pytest.CaptureFixture[str]) -> None:
    spec, batch = BY_NAME["smol135"], Batch(((70, 1), (0, 1)), tokens=3, sequences=4, fill=NAN)
    args, options = make(spec, batch, HOPPER, BFLOAT16).args, {"alibi_slopes": None, "sinks": None}
    with_chunks, without = kernels(spec), partial(kernels(spec).__wrapped__, decodes_only=True)
    names = [str(jax.make_jaxpr(x)(*args, **options)) for x in (with_chunks, without)]
    assert [[f"paged_{kernel}" in text for kernel in ("decode", "merge", "chunk")] for text in names] == [
        [True, True, True],
        [True, True, False],
    ]
    check(spec, batch, capfd, attention=jax.jit(without))


def test_one_token(capfd: pytest.CaptureFixture[str]) -> None:
    check(BY_NAME["smol135"], Batch(((70, 1),), tokens=1, sequences=4, fill=NAN), capfd)


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("all_at_once", BFLOAT16),
        ("window_over_blocks", E4M3),
        pytest.param("all_at_once", E4M3, marks=MATRIX),
        pytest.param("window_over_blocks", BFLOAT16, marks=MATRIX),
    ],
)
@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[])
@given(pairs=lengths(), seed=st.integers(0, 2**16), fill=st.sampled_from([1e4, NAN]))
def test_ragged_batches(
    name: str, stored: jnp.dtype, pairs: tuple[tuple[int, int], ...], seed: int, fill: float
) -> None:
    check(BY_NAME[name], Batch(pairs, seed=seed, fill=fill, **SIZES), None, stored=stored)


@pytest.mark.parametrize("poison", [NAN, pytest.param(1e4, marks=MATRIX)])
def test_free_pages_and_stale_table_entries_change_nothing(poison: float) -> None:
    spec = BY_NAME["all_at_once"]
    clean, poisoned = (make(spec, replace(EDGES, fill=fill), HOPPER, BFLOAT16) for fill in (0.0, poison))
    stale = with_stale_entries(poisoned, EDGES, spec)
    a, b = (np.asarray(interpret(arrays, kernels(spec)).out, np.float32) for arrays in (clean, stale))
    assert np.array_equal(a, b)


@pytest.mark.usefixtures("exact_rows")
@pytest.mark.parametrize("name", [pytest.param("smol135", marks=MATRIX), "all_at_once"])
def test_batch_mates_order_chunking_and_blocks_change_nothing(name: str) -> None:
    """Bitwise, for a decode and for a chunk: alone, among others, cut elsewhere, on another number of blocks."""
    spec = BY_NAME[name]

    def rows(pairs: list[tuple[int, int]], ours: int, attention: Attention = kernels(spec)) -> np.ndarray:  # noqa: B008
        drawn = [contents(spec, 1000 if i == ours else i, sum(pair)) for i, pair in enumerate(pairs)]
        arrays = assemble(spec, Batch(tuple(pairs), seed=ours, fill=NAN, **SIZES), drawn, HOPPER, BFLOAT16)
        first = sum(new for _, new in pairs[:ours])
        return np.asarray(interpret(arrays, attention).out, np.float32)[first : first + pairs[ours][1]]

    decode, chunk = rows([(160, 1)], 0), rows([(100, 60)], 0)
    for pairs, ours in (([(160, 1), (7, 1), (0, 20)], 0), ([(31, 1), (250, 1), (160, 1), (5, 3), (40, 9)], 2)):
        assert np.array_equal(rows(pairs, ours), decode)
    other = kernels(spec, replace(DECODE, blocks=3), replace(CHUNK, blocks=1))
    assert np.array_equal(rows([(31, 1), (160, 1), (9, 5)], 1, other), decode)
    assert np.array_equal(rows([(3, 1), (16, 5), (100, 60), (0, 4)], 2), chunk)
    assert np.array_equal(rows([(1, 1), (100, 17), (64, 9)], 1), chunk[:17])
    assert np.array_equal(rows([(117, 43), (1, 2)], 0, other), chunk[17:])


def test_a_sequence_that_is_not_finite_harms_only_itself() -> None:
    """A decode or a chunk whose new keys and values are NaN."""
    spec = BY_NAME["smol135"]
    batch = replace(EDGES, lengths=((40, 1), (70, 1), (20, 9), (33, 20), (5, 12)))
    arrays = make(spec, batch, HOPPER, BFLOAT16)
    whole = np.asarray(interpret(arrays, kernels(spec)).out, np.float32)
    for broken in (1, 3):
        spoilt, its, others = with_a_broken_sequence(arrays, batch, broken)
        out = np.asarray(interpret(spoilt, kernels(spec)).out, np.float32)
        assert np.array_equal(out[others], whole[others])
        assert np.isnan(out[its]).any()
