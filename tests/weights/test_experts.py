"""Rules with {e}: the tensors of all experts make one array with an expert axis; towers have prefixes of their own."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec

from jaxpaged.decoder.parameters import Declared, Place, declare
from jaxpaged.decoder.parameters import Path as TreePath
from jaxpaged.errors import WeightError
from jaxpaged.layers.param import param
from jaxpaged.models.architectures import llama
from jaxpaged.models.forms import EachExpert, Interleaved, Padded
from jaxpaged.models.weight_rules import Rule, WeightRules, tower_rules
from jaxpaged.quant.scheme import Scheme
from jaxpaged.quant.schemes import SCHEMES, choose_scheme
from jaxpaged.sharding.mesh import MODEL, make_mesh
from jaxpaged.sharding.rules import spec_of
from jaxpaged.weights.loader import load_safetensors
from jaxpaged.weights.plan import plan_weights
from jaxpaged.weights.update import update_weights
from tests.weights import tiny_llama
from tests.weights.tiny_llama import Tensors

LAYERS, EXPERTS, HIDDEN, SIZE, STORED, BLOCK = 2, 3, 8, 6, 8, 4
SEPARATE = WeightRules(
    (
        Rule("model.layers.{i}.mlp.experts.{e}.gate_proj.weight", "layers.{i}.ffn.gate_up", "gate"),
        Rule("model.layers.{i}.mlp.experts.{e}.up_proj.weight", "layers.{i}.ffn.gate_up", "up"),
        Rule("model.layers.{i}.mlp.experts.{e}.down_proj.weight", "layers.{i}.ffn.down"),
        Rule("model.layers.{i}.mlp.gate.weight", "layers.{i}.ffn.router"),
    ),
    prefix="model.",
)
FUSED = WeightRules(
    (
        Rule("layers.{i}.experts.gate_up_proj", "layers.{i}.ffn.gate_up", transform="interleaved"),
        Rule("layers.{i}.experts.down_proj", "layers.{i}.ffn.down", transform="transpose"),
        Rule("layers.{i}.router.weight", "layers.{i}.ffn.router"),
    )
)


class Experts(nnx.Module):
    """A gated MLP per expert, with padding, stored as one array each."""

    def __init__(self) -> None:
        shape = (STORED // BLOCK, 2, BLOCK, HIDDEN)
        gate_up = EachExpert(EXPERTS, Interleaved(("gate", "up"), (SIZE, HIDDEN), shape))
        down = EachExpert(EXPERTS, Padded((HIDDEN, SIZE), (HIDDEN, STORED)))
        axes = (None, "ffn", "part", None, "embed")
        self.gate_up = param((EXPERTS, *shape), axes, jnp.float32, inputs=1, form=gate_up)
        self.down = param((EXPERTS, HIDDEN, STORED), (None, "embed", "ffn"), jnp.float32, inputs=1, form=down)
        self.router = param((EXPERTS, HIDDEN), (None, "embed"), jnp.float32)


def declared(scheme: Scheme | None = None) -> Declared:
    """Two layers of experts, stacked."""

    def place(path: TreePath) -> Place:
        return Place(".".join(("layers.{i}.ffn", *path)), tuple(range(LAYERS)), stacked=True)

    _, state = nnx.split(nnx.eval_shape(Experts))
    return declare(nnx.to_flat_state(state), place, partial(choose_scheme, scheme=scheme))


def tensors(seed: int = 0) -> Tensors:
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {}
    for i in range(LAYERS):
        shapes[f"model.layers.{i}.mlp.gate.weight"] = (EXPERTS, HIDDEN)
        for e in range(EXPERTS):
            at = f"model.layers.{i}.mlp.experts.{e}"
            shapes |= {f"{at}.{part}_proj.weight": (SIZE, HIDDEN) for part in ("gate", "up")}
            shapes[f"{at}.down_proj.weight"] = (HIDDEN, SIZE)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def fused(given: Tensors) -> Tensors:
    """The same weights as other checkpoints have them: all experts in one tensor, gate and up row by row, [in, out]."""
    made: Tensors = {}
    for i in range(LAYERS):
        at = {
            part: np.stack([given[f"model.layers.{i}.mlp.experts.{e}.{part}_proj.weight"] for e in range(EXPERTS)])
            for part in ("gate", "up", "down")
        }
        made[f"layers.{i}.experts.gate_up_proj"] = np.stack([at["gate"], at["up"]], axis=2).reshape(EXPERTS, -1, HIDDEN)
        made[f"layers.{i}.experts.down_proj"] = at["down"].transpose(0, 2, 1).copy()
        made[f"layers.{i}.router.weight"] = given[f"model.layers.{i}.mlp.gate.weight"]
    return made


def expected(given: Tensors) -> dict[str, np.ndarray]:
    gate_up = np.zeros((LAYERS, EXPERTS, STORED // BLOCK, 2, BLOCK, HIDDEN), np.float32)
    down = np.zeros((LAYERS, EXPERTS, HIDDEN, STORED), np.float32)
    for i in range(LAYERS):
        for e in range(EXPERTS):
            at = f"model.layers.{i}.mlp.experts.{e}"
            down[i, e, :, :SIZE] = given[f"{at}.down_proj.weight"]
            for place, part in enumerate(("gate", "up")):
                for row in range(SIZE):
                    gate_up[i, e, row // BLOCK, place, row % BLOCK] = given[f"{at}.{part}_proj.weight"][row]
    router = np.stack([given[f"model.layers.{i}.mlp.gate.weight"] for i in range(LAYERS)])
    return {"gate_up": gate_up, "down": down, "router": router}


def assert_leaves(tree: Declared, leaves: tuple[object, ...], given: Tensors) -> None:
    wanted = expected(given)
    for info, leaf in zip(tree.params, leaves, strict=True):
        np.testing.assert_array_equal(np.asarray(leaf), wanted[info.path], err_msg=info.path)


@pytest.mark.parametrize(("rules", "form"), [(SEPARATE, dict), (FUSED, fused)])
@pytest.mark.parametrize("model", [1, 2])
def test_experts_are_stacked_exactly(tmp_path: Path, rules: WeightRules, form: type, model: int) -> None:
    tree, mesh = declared(), make_mesh(model)
    directory = tiny_llama.write(tmp_path, form(tensors()), 3)
    leaves = load_safetensors(directory, tree, rules, mesh, progress=False)
    assert_leaves(tree, leaves, tensors())
    assert_leaves(tree, update_weights(leaves, form(tensors(1)), tree, rules, mesh), tensors(1))


def test_a_scheme_stores_experts_as_it_stores_matrices(tmp_path: Path) -> None:
    tree = declared(SCHEMES["int8"])
    leaves = load_safetensors(tiny_llama.write(tmp_path, tensors()), tree, SEPARATE, make_mesh(2), progress=False)
    found = {info.path: np.asarray(leaf, np.float32) for info, leaf in zip(tree.params, leaves, strict=True)}
    for name in ("gate_up", "down"):
        values, scale = found[f"{name}.values"], found[f"{name}.scale"]
        np.testing.assert_allclose(values * scale[..., None], expected(tensors())[name], atol=0.02)


def test_what_is_wrong_is_named_by_expert() -> None:
    given = tensors()
    del given["model.layers.1.mlp.experts.2.up_proj.weight"]
    given["model.layers.0.mlp.experts.3.up_proj.weight"] = given["model.layers.0.mlp.experts.0.up_proj.weight"]
    given["model.layers.0.mlp.experts.1.down_proj.weight"] = np.ones((HIDDEN, SIZE + 1), np.float32)
    with pytest.raises(WeightError) as caught:
        plan_weights(SEPARATE, declared(), {name: (tensor.shape, tensor.dtype) for name, tensor in given.items()})
    for part in (
        "1 tensor missing (model.layers.1.mlp.experts.2.up_proj.weight)",
        "1 tensor unexpected (model.layers.0.mlp.experts.3.up_proj.weight)",
        "1 tensor of another shape (model.layers.0.mlp.experts.1.down_proj.weight: [8, 7] instead of [8, 6])",
    ):
        assert part in str(caught.value)


def test_a_rule_for_experts_needs_an_expert_axis() -> None:
    wrong = WeightRules((*SEPARATE.rules[:3], replace(SEPARATE.rules[3], source="model.{i}.experts.{e}.router")))
    with pytest.raises(ValueError, match="has no expert axis"):
        plan_weights(wrong, declared(), {})


def test_experts_are_whole_on_a_device_or_cut_alike_on_each() -> None:
    assert spec_of(("layer", "expert", None, "embed")) == PartitionSpec(None, MODEL)
    with pytest.raises(ValueError, match="the same mesh axis"):
        spec_of(("layer", "expert", "ffn", "embed"))


def test_a_tower_has_its_own_prefix(tmp_path: Path) -> None:
    """Llama as the language tower of a larger model, under both names that checkpoints use for it."""
    prefixes = ("model.language_model.", "language_model.model.")
    rules = WeightRules(tower_rules(llama.RULES, prefixes, strip="model."))
    given, decoder = tiny_llama.tensors(), tiny_llama.decoder()
    for prefix in prefixes:
        renamed = {
            prefix + name.removeprefix("model.") if name.startswith("model.") else name: tensor
            for name, tensor in given.items()
        }
        leaves = load_safetensors(tiny_llama.write(tmp_path, renamed), decoder, rules, make_mesh(1), progress=False)
        for info, leaf in zip(decoder.params, leaves, strict=True):
            want = tiny_llama.expected_leaves(given)[info.path]
            np.testing.assert_array_equal(np.asarray(leaf)[tuple(map(slice, want.shape))], want, err_msg=info.path)


def test_a_tower_has_its_own_targets() -> None:
    rule = Rule("blocks.{i}.norm.weight", "layers.{i}.mixer_norm.weight", aliases=("layers.{i}.norm.weight",))
    assert tower_rules([rule], ("visual.", "vision_model."), target="vision.") == (
        Rule(
            "visual.blocks.{i}.norm.weight",
            "vision.layers.{i}.mixer_norm.weight",
            aliases=(
                "vision_model.blocks.{i}.norm.weight",
                "visual.layers.{i}.norm.weight",
                "vision_model.layers.{i}.norm.weight",
            ),
        ),
    )
