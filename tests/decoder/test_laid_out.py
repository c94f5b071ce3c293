"""A decoder whose weights lie as oneDNN wants them: the same answers, from every way in which weights come."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Array

from jaxpaged.decoder.functional import FunctionalDecoder, build_decoder
from jaxpaged.execution.compiler import nothing_cached
from jaxpaged.models.architectures.llama import ARCHITECTURE
from jaxpaged.quant.onednn.machine import can_try, cpu_description
from jaxpaged.quant.onednn.schemes import OneDnnLayout, OneDnnPlain, matrix_of
from jaxpaged.quant.onednn.trial import Trial, passed
from jaxpaged.sharding.mesh import make_mesh
from jaxpaged.weights.convert import convert
from jaxpaged.weights.loader import load_weights
from jaxpaged.weights.update import update_weights
from tests.models import dense
from tests.weights import tiny_llama

pytestmark = pytest.mark.skipif(not can_try("float32", cpu_description()), reason="a CPU without AVX2")
TOKENS = np.arange(8, dtype=np.int32) * 16


@functools.cache
def decoders(tied: bool) -> tuple[FunctionalDecoder, FunctionalDecoder]:
    """As elsewhere, and as oneDNN wants it."""
    spec = ARCHITECTURE.spec_from_hf({**tiny_llama.CONFIG, "tie_word_embeddings": tied})
    plain = build_decoder(spec, dtype=np.dtype("float32"), layer_loop="switch")
    matrices = dict.fromkeys(matrix_of(weight.scheme, weight.parameter) for weight in plain.weights)
    with nothing_cached():
        found = passed(Trial(tuple(matrix for matrix in matrices if matrix), (8,)))
    return plain, plain.laid_out(OneDnnLayout(frozenset(found)))


def write(directory: Path, tied: bool, seed: int = 0) -> Path:
    tensors = tiny_llama.tensors(seed=seed)
    if tied:
        del tensors["lm_head.weight"]
    tiny_llama.write(directory, tensors)
    (directory / "config.json").write_text(json.dumps({**tiny_llama.CONFIG, "tie_word_embeddings": tied}))
    return directory


def load(directory: Path, decoder: FunctionalDecoder) -> tuple[Array, ...]:
    return load_weights(directory, decoder, tiny_llama.RULES, make_mesh(1), progress=False)


def answers(decoder: FunctionalDecoder, leaves: tuple[Array, ...]) -> np.ndarray:
    with nothing_cached():
        logits = np.asarray(dense.run(decoder, leaves, TOKENS))
    return logits[:, : tiny_llama.VOCAB]


@pytest.mark.parametrize("tied", [False, True])
def test_it_answers_as_the_plain_decoder_does(tmp_path: Path, tied: bool) -> None:
    plain, mine = decoders(tied)
    directory = write(tmp_path, tied)
    leaves = load(directory, mine)
    assert sum(isinstance(weight.scheme, OneDnnPlain) for weight in mine.weights) == 4 * tiny_llama.LAYERS + 1
    for info, leaf in zip(mine.params, leaves, strict=True):
        assert (leaf.shape, leaf.dtype) == (info.shape, info.dtype)
    wanted = answers(plain, load(directory, plain))
    np.testing.assert_allclose(answers(mine, leaves), wanted, rtol=1e-5, atol=1e-5 * np.abs(wanted).max())
    assert (mine.cacheable, plain.cacheable) == (False, True)


def test_a_converted_checkpoint_is_the_same_everywhere(tmp_path: Path) -> None:
    plain, mine = decoders(tied=True)
    source = write(tmp_path / "hf", tied=True)
    convert(source, tmp_path / "converted", plain, load(source, plain))
    for got, wanted in zip(load(tmp_path / "converted", mine), load(source, mine), strict=True):
        np.testing.assert_array_equal(np.asarray(got), np.asarray(wanted))


def test_new_weights_are_laid_out_too(tmp_path: Path) -> None:
    _, mine = decoders(tied=True)
    old, new = (load(write(tmp_path / str(seed), tied=True, seed=seed), mine) for seed in (1, 2))
    tensors = tiny_llama.tensors(seed=2)
    del tensors["lm_head.weight"]
    for got, wanted in zip(update_weights(old, tensors, mine, tiny_llama.RULES, make_mesh(1)), new, strict=True):
        np.testing.assert_array_equal(np.asarray(got), np.asarray(wanted))


def test_random_weights_have_the_layout_too(tmp_path: Path) -> None:
    _, mine = decoders(tied=False)
    leaves = load_weights(tmp_path, mine, tiny_llama.RULES, make_mesh(1), load_format="dummy", progress=False)
    assert np.isfinite(answers(mine, leaves)).all()
