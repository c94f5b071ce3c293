"""The functional boundary: what leaves there are, gradients, given embeddings, quantization, and layer loops."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.decoder.functional import FunctionalDecoder, build_decoder
from jaxpaged.kv.spec import FullAttentionSpec, SlidingWindowSpec
from jaxpaged.layers.attention import LayerRef, dense_attend
from jaxpaged.models.registry import find_architecture, spec_from_config
from jaxpaged.quant.schemes import SCHEMES
from tests.models.case import WINDOW, load_golden, make_weights
from tests.models.cases import CASE
from tests.models.dense import Leaves, assemble, logits_of, run


def load(name: str, **options: object) -> tuple[FunctionalDecoder, Leaves]:
    case = CASE[name]
    decoder = build_decoder(spec_from_config(case.config), **{"dtype": jnp.float32, **options})
    tensors = make_weights(case, load_golden(case).tensors)
    return decoder, assemble(find_architecture(case.config).weights, decoder, tensors)


def test_leaves_are_stacked_by_place_in_the_period() -> None:
    decoder = build_decoder(spec_from_config(CASE["gemma3"].config), dtype=jnp.bfloat16)
    qkv = {info.path: info for info in decoder.params if info.path.endswith("mixer.qkv")}
    assert {path: info.layers for path, info in qkv.items()} == {
        "runs.0.0.mixer.qkv": (0, 1),
        "runs.1.0.mixer.qkv": (2,),
        "runs.2.0.mixer.qkv": (3,),
    }
    first = qkv["runs.0.0.mixer.qkv"]
    assert first.shape == (2, 2, 4, 16, 48)
    assert first.axes == ("layer", "kv_head", "q_group", "head_dim", "embed")
    assert first.dtype == jnp.bfloat16


def test_layer_caches_follow_windows_and_stored_heads() -> None:
    decoder = build_decoder(spec_from_config(CASE["gemma3"].config), dtype=jnp.float32, tensor_parallel=4)
    local, full = SlidingWindowSpec(4, 16, WINDOW), FullAttentionSpec(4, 16)
    assert decoder.layer_caches() == (local, local, full, local)


def test_a_window_that_never_binds_is_no_window() -> None:
    spec = spec_from_config(CASE["gemma3"].config)
    short = spec.served_at(WINDOW)
    assert short.max_position == WINDOW
    assert set(short.layer_caches()) == {FullAttentionSpec(2, 16)}
    assert spec.served_at(WINDOW + 1).layers == spec.layers


def test_attention_is_told_group_and_place_of_each_layer() -> None:
    decoder, leaves = load("gemma3", layer_loop="unroll")
    seen: list[tuple[int, int | None]] = []

    def attend(state: None, q: jax.Array, k: jax.Array, v: jax.Array, layer: LayerRef) -> tuple[None, jax.Array]:
        seen.append((layer.group, layer.score.window, int(layer.index)))
        return state, q

    positions = jnp.arange(8, dtype=jnp.int32)
    decoder.hidden(leaves, decoder.embed(leaves, positions, positions), positions, attend, None)
    assert seen == [(1, WINDOW, 0), (1, WINDOW, 1), (0, None, 0), (1, WINDOW, 2)]


def test_gradients_reach_every_leaf() -> None:
    decoder, leaves = load("gemma2")
    tokens = jnp.arange(24, dtype=jnp.int32)

    def loss(leaves: Leaves) -> jax.Array:
        log_probs = jax.nn.log_softmax(logits_of(decoder, leaves, tokens)[:, :131])
        return -jnp.take_along_axis(log_probs[:-1], tokens[1:, None], axis=1).mean()

    gradients = jax.jit(jax.grad(loss))(leaves)
    for info, gradient in zip(decoder.params, gradients, strict=True):
        assert jnp.isfinite(gradient).all(), info.path
        assert jnp.abs(gradient).max() > 0, info.path


def test_given_embeddings_equal_the_tokens_they_come_from() -> None:
    decoder, leaves = load("opt_post_norm")
    tokens = jnp.asarray([5, 9, 11, 3], jnp.int32)
    positions = jnp.arange(4, dtype=jnp.int32)
    table = next(leaf for info, leaf in zip(decoder.params, leaves, strict=True) if info.path == "embedding.table")
    is_given = jnp.asarray([False, True, True, False])
    others = jnp.where(is_given, 0, tokens)
    expected = decoder.embed(leaves, tokens, positions)
    assert jnp.array_equal(decoder.embed(leaves, others, positions, table[tokens], is_given), expected)


def test_int8_is_close_to_float() -> None:
    decoder, leaves = load("llama", scheme=SCHEMES["int8"])
    golden = load_golden(CASE["llama"])
    values = {info.path for info in decoder.params if info.dtype == jnp.int8}
    assert values == {f"runs.0.0.{name}.values" for name in ("mixer.qkv", "mixer.out", "ffn.gate_up", "ffn.down")}
    logits = run(decoder, leaves, golden.tokens)[golden.positions, : golden.logits.shape[1]]
    error = np.abs(logits - golden.logits).max() / np.abs(golden.logits).max()
    assert 1e-4 < error < 0.2
    assert np.corrcoef(logits.ravel(), golden.logits.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("scheme", [None, "int8"])
def test_a_row_does_not_depend_on_the_other_rows(scheme: str | None) -> None:
    decoder, leaves = load("llama", scheme=SCHEMES[scheme] if scheme else None)
    program = jax.jit(partial(logits_of, decoder))
    tokens = jnp.arange(32, dtype=jnp.int32)
    changed = tokens.at[20:].set(7)
    assert jnp.array_equal(program(leaves, tokens)[:20], program(leaves, changed)[:20])


def test_bfloat16_runs_in_bfloat16_and_gives_float32_logits() -> None:
    decoder, leaves = load("gptj", dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.bfloat16)}
    golden = load_golden(CASE["gptj"])
    logits = run(decoder, leaves, golden.tokens)
    assert logits.dtype == np.float32
    assert np.corrcoef(logits[golden.positions, :131].ravel(), golden.logits.ravel())[0, 1] > 0.99


def test_rows_may_name_adapters() -> None:
    """A seam: nothing reads them yet, but they reach every linear()."""
    decoder, leaves = load("llama")
    positions = jnp.arange(8, dtype=jnp.int32)
    x, attend = decoder.embed(leaves, positions, positions), dense_attend(positions)
    plain, _ = decoder.hidden(leaves, x, positions, attend, None)
    adapted, _ = decoder.hidden(leaves, x, positions, attend, None, rows=jnp.zeros(8, jnp.int32))
    assert jnp.array_equal(plain, adapted)


def test_a_wrong_number_of_leaves_is_refused() -> None:
    decoder, leaves = load("llama")
    with pytest.raises(ValueError, match="leaves, got"):
        decoder.logits(leaves[:-1], jnp.zeros((1, 48), jnp.float32))
