"""A converted checkpoint is a model directory like any other, and is used only for what it was made for."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Array

from jaxpaged.config import ModelConfig
from jaxpaged.decoder.functional import build_decoder
from jaxpaged.errors import ConfigError, WeightError
from jaxpaged.hub.model_directory import resolve_model
from jaxpaged.models.spec import Attention
from jaxpaged.quant.schemes import SCHEMES
from jaxpaged.sharding.mesh import make_mesh
from jaxpaged.sharding.rules import sharding_of
from jaxpaged.weights.convert import convert
from jaxpaged.weights.loader import load_weights
from tests.weights import tiny_llama

MESHES = [(1, 1), (2, 4)]  # data, model


def load(directory: Path, model: int = 1, data: int = 1, dtype: str = "float32") -> tuple[Array, ...]:
    decoder = tiny_llama.decoder(dtype, model)
    return load_weights(directory, decoder, tiny_llama.RULES, make_mesh(model, data), progress=False)


def converted(tmp_path: Path, model: int = 1, data: int = 1, dtype: str = "float32") -> Path:
    source = tiny_llama.write(tmp_path / "hf", tiny_llama.tensors(), 3)
    (source / "tokenizer.py").write_text("raise SystemExit")
    output = tmp_path / "converted"
    convert(source, output, tiny_llama.decoder(dtype, model), load(source, model, data, dtype))
    return output


@pytest.mark.parametrize(("data", "model"), MESHES)
def test_round_trip(tmp_path: Path, data: int, model: int) -> None:
    output = converted(tmp_path, model, data, "bfloat16")
    expected = load(tmp_path / "hf", model, data, "bfloat16")
    found = load(output, model, data, "bfloat16")
    decoder, mesh = tiny_llama.decoder("bfloat16", model), make_mesh(model, data)
    for info, want, got in zip(decoder.params, expected, found, strict=True):
        assert got.sharding == want.sharding == sharding_of(mesh, info.axes)
        np.testing.assert_array_equal(np.asarray(got).view(np.uint16), np.asarray(want).view(np.uint16))


def test_quantized_leaves(tmp_path: Path) -> None:
    source = tiny_llama.write(tmp_path / "hf", tiny_llama.tensors())
    decoder = build_decoder(tiny_llama.decoder().spec, dtype=np.float32, scheme=SCHEMES["int8"])
    mesh = make_mesh(1)
    leaves = load_weights(source, decoder, tiny_llama.RULES, mesh, progress=False)
    assert {leaf.dtype.name for leaf in leaves} == {"float32", "int8"}
    convert(source, tmp_path / "int8", decoder, leaves)
    for want, got in zip(leaves, load_weights(tmp_path / "int8", decoder, tiny_llama.RULES, mesh), strict=True):
        np.testing.assert_array_equal(np.asarray(got), np.asarray(want))
    with pytest.raises(WeightError, match=r"holds runs\.0\.0\.ffn\.down as None"):
        load(tmp_path / "int8")


def test_it_is_a_model_directory_without_code_or_weights_files(tmp_path: Path) -> None:
    output = converted(tmp_path)
    assert resolve_model(ModelConfig(model=str(output))) == output
    names = {path.name for path in output.iterdir()}
    assert names == {"config.json", "tokenizer.json", "jaxpaged.json", "orbax"}
    again = tmp_path / "again"
    convert(output, again, tiny_llama.decoder(), load(output))
    assert {path.name for path in again.iterdir()} == names


def test_other_settings_are_refused(tmp_path: Path) -> None:
    output = converted(tmp_path)
    with pytest.raises(WeightError, match="converted for dtype=float32, but dtype=bfloat16 is asked for"):
        load(output, dtype="bfloat16")
    with pytest.raises(WeightError, match="converted for tensor_parallel_size=1, but tensor_parallel_size=2"):
        load(output, model=2)
    spec = tiny_llama.decoder().spec
    assert isinstance(spec.layers[0].mixer, Attention)
    wider = build_decoder(
        tiny_llama.ARCHITECTURE.spec_from_hf(tiny_llama.CONFIG | {"vocab_size": 999}), dtype=np.float32
    )
    with pytest.raises(WeightError, match=r"holds embedding\.table as .* but the model needs"):
        load_weights(output, wider, tiny_llama.RULES, make_mesh(1))


def test_damage_is_refused(tmp_path: Path) -> None:
    output = converted(tmp_path)
    manifest = json.loads((output / "jaxpaged.json").read_text())
    (output / "jaxpaged.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(WeightError, match="converted for format=99"):
        load(output)
    (output / "jaxpaged.json").write_text(json.dumps(manifest))
    array = output / "orbax" / "leaves" / "runs.0.0.mixer.qkv"
    (chunk,) = (path for path in (array / "c").rglob("*") if path.is_file())
    content = chunk.read_bytes()
    nan = np.frombuffer(content, np.float32).copy()
    nan[5] = np.nan
    damages = {
        "NaN or infinity in runs.0.0.mixer.qkv": lambda: chunk.write_bytes(nan.tobytes()),
        "runs.0.0.mixer.qkv is damaged": lambda: chunk.write_bytes(content[: len(content) // 2]),
        "mixer.qkv is damaged": chunk.unlink,  # a hole must not read as zeros
        "qkv is damaged": lambda: shutil.rmtree(array),
    }
    for message, damage in damages.items():
        damage()
        with pytest.raises(WeightError, match=message) as caught:
            load(output)
        assert "\n" not in str(caught.value)
    (output / "jaxpaged.json").unlink()
    with pytest.raises(WeightError, match="not a converted checkpoint"):
        load_weights(output, tiny_llama.decoder(), tiny_llama.RULES, make_mesh(1), load_format="orbax")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    output = converted(tmp_path)
    with pytest.raises(ConfigError, match="exists already"):
        convert(tmp_path / "hf", output, tiny_llama.decoder(), load(output))
