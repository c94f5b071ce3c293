"""A GGUF file means the model that it was made from: the same decoder, the same tensors, for every architecture."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.config import ModelConfig
from jaxpaged.gguf.checkpoint import checkpoint_tensors
from jaxpaged.gguf.files import read_model
from jaxpaged.gguf.registry import FAMILIES
from jaxpaged.hub.model_directory import read_config, resolve_model
from jaxpaged.layers.rope import frequencies_of
from jaxpaged.models.registry import spec_from_config
from tests.gguf import forward
from tests.models.case import LONGEST, load_golden, make_weights
from tests.models.cases import CASE

# A parity case of tests/models, with what GGUF cannot say left out.
CHANGES: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama_mqa_bias": {},
    "llama_linear": {},
    "llama_yarn": {},
    "qwen2": {"use_sliding_window": False, "sliding_window": None},
    "qwen3": {},
    "granite": {},
    "gemma2": {"query_pre_attn_scalar": 16},
    "gemma3": {"query_pre_attn_scalar": 16},
    "phi3": {},
    "gpt2": {},
    "neox_parallel": {},
    "neox_serial": {},
    "bloom": {"intermediate_size": 192, "seq_length": LONGEST, "max_position_embeddings": LONGEST},
}


def config_of(case: str) -> dict[str, Any]:
    config = {**CASE[case].config, **CHANGES.get(case, {})}
    return {key: value for key, value in config.items() if value is not None}


def weights_of(case: str) -> dict[str, np.ndarray]:
    """Multiples of 1/256, to which one may be added and taken away again."""
    made = make_weights(CASE[case], load_golden(CASE[case]).tensors)
    return {name: np.round(tensor * 256) / np.float32(256) for name, tensor in made.items()}


def write(path: Path, case: str, **more: np.ndarray) -> Path:
    config = config_of(case)
    return forward.write(path, forward.metadata_of(config), {**forward.tensors_of(config, weights_of(case)), **more})


def directory_of(file: Path) -> Path:
    return resolve_model(
        ModelConfig(model=str(file), download_dir=str(file.parent / "cache"), skip_tokenizer_init=True)
    )


@pytest.mark.parametrize("case", CHANGES)
def test_a_file_describes_the_model_it_was_made_from(tmp_path: Path, case: str) -> None:
    file = write(tmp_path / "model.gguf", case)
    config = {key: value for key, value in config_of(case).items() if case != "bloom" or key in CASE[case].config}
    wanted = spec_from_config(config)
    if case == "bloom":  # its config.json does not say
        wanted = dataclasses.replace(wanted, max_position=LONGEST)
    assert spec_from_config(read_config(directory_of(file))) == wanted
    found = checkpoint_tensors(read_model((file,)))
    weights = weights_of(case)
    assert found.keys() == weights.keys()
    for name, tensor in found.items():
        np.testing.assert_array_equal(tensor.read(), weights[name], err_msg=name)
        assert (tensor.shape, tensor.dtype) == (weights[name].shape, np.float32)


def test_every_architecture_is_compared() -> None:
    assert {forward.architecture_of(config_of(case)) for case in CHANGES} == FAMILIES.keys()


def test_frequencies_that_a_table_divides(tmp_path: Path) -> None:
    """Llama 3.1 and Phi-3 bring the factors as tensors."""
    wanted = spec_from_config(config_of("llama_llama3")).layers[0].mixer.position
    plain = dataclasses.replace(wanted, scaling=None)
    frequencies, _ = frequencies_of(wanted, LONGEST)
    factors = np.asarray(frequencies_of(plain, LONGEST)[0]) / np.asarray(frequencies)
    file = write(tmp_path / "model.gguf", "llama_llama3", **{"rope_freqs.weight": factors.astype(np.float32)})
    found = spec_from_config(read_config(directory_of(file))).layers[0].mixer.position
    again, magnitude = frequencies_of(found, LONGEST)
    np.testing.assert_allclose(again, frequencies, rtol=1e-6)
    assert magnitude == 1.0
    assert "rope_freqs.weight" not in checkpoint_tensors(read_model((file,)))

    case = "phi3_longrope"
    scaling = config_of(case)["rope_scaling"]
    tables = {f"rope_factors_{kind}.weight": np.float32(scaling[f"{kind}_factor"]) for kind in ("short", "long")}
    spec = spec_from_config(read_config(directory_of(write(tmp_path / "phi3.gguf", case, **tables))))
    ours, theirs = spec.layers[0].mixer.position, spec_from_config(config_of(case)).layers[0].mixer.position
    for length in (16, LONGEST):
        (one, magnitude), (other, wanted_magnitude) = frequencies_of(ours, length), frequencies_of(theirs, length)
        np.testing.assert_allclose(one, other, rtol=1e-6)
        assert magnitude == pytest.approx(wanted_magnitude)


def test_layers_of_gemma_by_a_flag_for_each(tmp_path: Path) -> None:
    config = config_of("gemma3")
    flags = [True, False, False, True]
    metadata = {**forward.metadata_of(config), "gemma3.attention.sliding_window_pattern": flags}
    file = forward.write(tmp_path / "m.gguf", metadata, forward.tensors_of(config, weights_of("gemma3")))
    spec = spec_from_config(read_config(directory_of(file)))
    assert [layer.mixer.window is not None for layer in spec.layers] == flags


@pytest.mark.parametrize(
    ("stored", "dtype"), [("float32", "float32"), ("float16", "float16"), ("bfloat16", "bfloat16")]
)
def test_it_is_served_in_the_precision_of_most_numbers(tmp_path: Path, stored: str, dtype: str) -> None:
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize

    kind = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[stored]
    config = config_of("llama")
    tensors = forward.tensors_of(config, weights_of("llama"))
    cast = {
        name: (quantize(tensor, GGMLQuantizationType[kind]), GGMLQuantizationType[kind]) if tensor.ndim > 1 else tensor
        for name, tensor in tensors.items()
    }
    file = forward.write(tmp_path / "model.gguf", forward.metadata_of(config), cast)
    assert json.loads((directory_of(file) / "config.json").read_text())["dtype"] == dtype
    found = checkpoint_tensors(read_model((file,)))["model.layers.0.self_attn.q_proj.weight"]
    assert found.dtype == jnp.dtype(dtype)
    want = weights_of("llama")["model.layers.0.self_attn.q_proj.weight"].astype(jnp.dtype(dtype))
    np.testing.assert_array_equal(found.read().astype(np.float32), want.astype(np.float32))
