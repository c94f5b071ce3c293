"""Families of other code: the example of docs/custom_models.md, by name, by entry point, in the engine's process."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.config import EngineConfig
from jaxpaged.decoder.functional import build_decoder
from jaxpaged.engine_process import loop
from jaxpaged.engine_process.protocol import Start
from jaxpaged.errors import ConfigError, UnsupportedModelError
from jaxpaged.layers.context import TokenContext
from jaxpaged.models import custom
from jaxpaged.models.registry import REGISTRY, Registry
from tests.models.case import LONGEST, Case, llama_like, make_weights
from tests.models.dense import assemble, run

DOCUMENT = Path(__file__).resolve().parents[2] / "jaxpaged" / "docs" / "custom_models.md"
EXAMPLE = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)[0]
WHERE = "squared_model:ARCHITECTURE"
CASE = Case("squared", llama_like("SquaredForCausalLM", "squared", num_hidden_layers=1))
MAX_LINES = 60


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The example as a module on Python's path, and nothing registered."""
    (tmp_path / "squared_model.py").write_text(EXAMPLE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(custom, "_registered", {})
    yield tmp_path
    sys.modules.pop("squared_model", None)


def install(folder: Path, where: str) -> None:
    """A package of that name, as far as importlib.metadata sees one."""
    info = folder / "squared-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: squared\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{custom.GROUP}]\nsquared = {where}\n")


def test_the_example_is_short() -> None:
    assert len(EXAMPLE.splitlines()) < MAX_LINES


def test_the_example_computes_what_it_says(example: Path) -> None:
    family = custom.register_architecture(WHERE)
    registry = custom.current_registry()
    decoder = build_decoder(registry.spec_from_config(CASE.config), dtype=jnp.float32, layer_parts=registry.layer_parts)
    hidden, size = CASE.config["hidden_size"], CASE.config["intermediate_size"]
    names = {
        **{f"self_attn.{name}_proj.weight": (rows, hidden) for name, rows in (("q", 48), ("k", 24), ("v", 24))},
        "self_attn.o_proj.weight": (hidden, 48),
        "mlp.up_proj.weight": (size, hidden),
        "mlp.down_proj.weight": (hidden, size),
        "input_layernorm.weight": (hidden,),
        "post_attention_layernorm.weight": (hidden,),
    }
    shapes = {f"model.layers.0.{name}": shape for name, shape in names.items()}
    shapes |= {
        "model.norm.weight": (hidden,),
        "model.embed_tokens.weight": (131, hidden),
        "lm_head.weight": (131, hidden),
    }
    tensors = make_weights(CASE, shapes)
    logits = run(decoder, assemble(family.weights, decoder, tensors), np.arange(LONGEST // 4))
    assert np.isfinite(logits[:, :131]).all()
    x = np.random.default_rng(0).standard_normal((5, hidden)).astype(np.float32)
    up, down = (tensors[f"model.layers.0.mlp.{name}_proj.weight"] for name in ("up", "down"))
    part = _module(hidden, size, up, down)
    got = part(jnp.asarray(x), TokenContext({}, jnp.arange(5)))
    np.testing.assert_allclose(got, np.maximum(x @ up.T, 0) ** 2 @ down.T, rtol=1e-4, atol=1e-4)


def _module(hidden: int, size: int, up: np.ndarray, down: np.ndarray) -> Any:
    module = sys.modules["squared_model"]
    part = module.SquaredReLUModule(module.SquaredReLU(size), hidden, 1, jnp.float32)
    part.up.set_value(jnp.asarray(up))
    part.down.set_value(jnp.asarray(down))
    return part


def test_nothing_registered_is_our_own_registry(example: Path) -> None:
    assert custom.current_registry() is REGISTRY


def test_an_installed_package_adds_its_family(example: Path) -> None:
    install(example, WHERE)
    assert custom.current_registry().architectures.keys() - REGISTRY.architectures.keys() == {"SquaredForCausalLM"}


def test_a_broken_package_costs_its_own_family_only(example: Path, caplog: pytest.LogCaptureFixture) -> None:
    install(example, "squared_model:ARCHITECTURES")
    assert custom.current_registry() is REGISTRY
    assert "entry point squared of the group jaxpaged.architectures is left out" in caplog.text


class Recorder:
    """Stands for the engine: notes which families were known when it was built."""

    registry: Registry

    @classmethod
    def build(cls, config: EngineConfig, *, progress: bool) -> type[Recorder]:
        cls.registry = custom.current_registry()
        return cls


def test_the_engines_process_registers_what_the_front_end_has(example: Path) -> None:
    custom.register_architecture(WHERE)
    start = Start(EngineConfig(), progress=False, debug=False, architectures=custom.registered())
    custom._registered.clear()  # as in a new process
    loop.build(f"{__name__}:Recorder", start)
    assert "SquaredForCausalLM" in sys.modules[__name__].Recorder.registry.architectures


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("nowhere.at.all:ARCHITECTURE", "cannot be imported .*give module:NAME"),
        ("squared_model:FAMILY", "cannot be imported .*FAMILY"),
        ("squared_model:RULES", "is a tuple; give the name of"),
        ("__main__:ARCHITECTURE", "put the architecture into a module of its own"),
        ("1:2:3", "give module:NAME"),
    ],
)
def test_what_cannot_be_registered_is_refused(example: Path, where: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        custom.register_architecture(where)
    assert custom.registered() == ()


def test_an_unknown_model_with_llamas_keys_is_told_how_to_be_served() -> None:
    config = llama_like("UnheardForCausalLM", "unheard")
    with pytest.raises(UnsupportedModelError, match=r"pass hf_overrides=.*LlamaForCausalLM.*register_architecture"):
        REGISTRY.spec_from_config(config)
    with pytest.raises(UnsupportedModelError, match=r"like Llama's: jaxpaged\.register_architecture") as caught:
        REGISTRY.spec_from_config({**config, "clip_qkv": 8.0})
    assert "hf_overrides" not in str(caught.value)
    with pytest.raises(UnsupportedModelError) as caught:
        REGISTRY.spec_from_config({key: value for key, value in config.items() if key != "rms_norm_eps"})
    assert "register_architecture" not in str(caught.value)
