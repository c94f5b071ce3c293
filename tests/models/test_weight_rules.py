"""Weight plans: a bijection between a checkpoint's tensors and the decoder's leaves, or an error with names."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpaged.decoder.functional import FunctionalDecoder, build_decoder
from jaxpaged.errors import WeightError
from jaxpaged.models.registry import find_architecture, spec_from_config
from jaxpaged.quant.schemes import SCHEMES
from jaxpaged.weights.plan import WeightPlan, plan_weights
from tests.models.case import Case, load_golden
from tests.models.cases import CASE, CASES

Tensors = dict[str, tuple[tuple[int, ...], np.dtype]]
FLOAT32 = np.dtype(np.float32)


def tensors_of(name: str) -> Tensors:
    return {name: (shape, FLOAT32) for name, shape in load_golden(CASE[name]).tensors.items()}


def decoder_of(name: str, **options: object) -> FunctionalDecoder:
    return build_decoder(spec_from_config(CASE[name].config), dtype=jnp.float32, **options)


def plan(name: str, tensors: Tensors, **options: object) -> WeightPlan:
    return plan_weights(find_architecture(CASE[name].config).weights, decoder_of(name, **options), tensors)


@pytest.mark.parametrize("options", [{}, {"tensor_parallel": 4}, {"scheme": SCHEMES["int8"]}, {"layer_loop": "switch"}])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_tensor_and_every_slot_of_every_leaf_is_planned_once(case: Case, options: dict[str, object]) -> None:
    tensors = tensors_of(case.name)
    planned = plan(case.name, tensors, **options)
    used = [name for piece in planned.slices for name in piece.sources]
    assert sorted([*used, *planned.ignored]) == sorted(tensors)
    assert not planned.ignored or "vision_config" in case.config
    slots = [(leaf, piece.index) for piece in planned.slices for leaf in piece.leaves]
    params = decoder_of(case.name, **options).params
    assert sorted(slots) == [(leaf, i) for leaf, info in enumerate(params) for i in range(max(1, len(info.layers)))]


@pytest.mark.parametrize("name", ["llama", "gpt2", "neox_parallel", "opt", "bloom"])
def test_checkpoints_of_the_bare_model_lack_the_prefix(name: str) -> None:
    prefix = find_architecture(CASE[name].config).weights.prefix
    bare = {tensor.removeprefix(prefix): info for tensor, info in tensors_of(name).items()}
    assert bare.keys() != tensors_of(name).keys()
    assert len(plan(name, bare).slices) == len(plan(name, tensors_of(name)).slices)


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("llama", "model.layers.0.self_attn.rotary_emb.inv_freq"),
        ("gpt2", "transformer.h.0.attn.bias"),
        ("gpt2", "h.1.attn.masked_bias"),
        ("gptj", "transformer.h.0.attn.masked_bias"),
        ("neox_parallel", "gpt_neox.layers.1.attention.rotary_emb.inv_freq"),
        ("neox_parallel", "gpt_neox.layers.1.attention.bias"),
        ("gemma2", "lm_head.weight"),  # tied: the copy is not read
    ],
)
def test_buffers_and_copies_are_ignored(name: str, extra: str) -> None:
    tensors = tensors_of(name) | {extra: ((1, 1, 8, 8), np.dtype(bool))}
    assert plan(name, tensors).ignored == (extra,)


def test_layers_behind_the_last_are_ignored_where_the_family_has_such() -> None:
    further = "model.layers.3.self_attn.q_a_proj.weight"
    extra = {further: ((28, 48), FLOAT32)}
    assert plan("deepseek_v3", tensors_of("deepseek_v3") | extra).ignored == (further,)
    with pytest.raises(WeightError, match="1 tensor unexpected"):
        plan("deepseek_v2", tensors_of("deepseek_v2") | extra)


def test_a_tensor_may_have_another_name() -> None:
    tensors = tensors_of("neox_parallel")
    names = {"embed_out.weight", "lm_head.weight"}
    (old,) = names & tensors.keys()
    (new,) = names - {old}
    tensors[new] = tensors.pop(old)
    assert new in {name for piece in plan("neox_parallel", tensors).slices for name in piece.sources}


def test_what_is_wrong_is_listed_by_name() -> None:
    tensors = tensors_of("llama")
    del tensors["model.norm.weight"]
    tensors["model.layers.0.self_attn.q_proj.weight"] = ((48, 48), FLOAT32)
    tensors["model.layers.1.mlp.up_proj.weight"] = ((80, 48), np.dtype(np.int8))
    tensors["model.layers.3.mlp.up_proj.weight"] = ((80, 48), FLOAT32)
    tensors["model.layers.0.self_attn.q_proj.bias"] = ((64,), FLOAT32)
    with pytest.raises(WeightError) as caught:
        plan("llama", tensors)
    for part in (
        "1 tensor missing (model.norm.weight)",
        "2 tensors unexpected (model.layers.0.self_attn.q_proj.bias, model.layers.3.mlp.up_proj.weight)",
        "1 tensor of another shape (model.layers.0.self_attn.q_proj.weight: [48, 48] instead of [64, 48])",
        "1 tensor not of a float type (model.layers.1.mlp.up_proj.weight: int8)",
    ):
        assert part in str(caught.value)


def test_an_untied_head_is_missing_by_name() -> None:
    tensors = tensors_of("llama")
    del tensors["lm_head.weight"]
    with pytest.raises(WeightError, match=r"1 tensor missing \(lm_head.weight\).*without a head gives embeddings"):
        plan("llama", tensors)


@pytest.mark.parametrize(
    ("names", "mend"),
    [
        (("self_attn.q_proj.weight_scale",), "quantized in a form that is not read yet"),
        (("self_attn.q_proj.qweight", "self_attn.q_proj.g_idx"), "quantized in a form that is not read yet"),
        (("self_attn.q_proj.lora_A.weight",), "merge the adapter into its base model"),
        (("self_attn.q_proj.other",), "Fetch both again, from the same place"),
    ],
)
def test_what_the_other_tensors_are_is_said(names: tuple[str, ...], mend: str) -> None:
    tensors = tensors_of("llama")
    other = tensors.pop("model.layers.0.self_attn.q_proj.weight")
    tensors |= {f"model.layers.0.{name}": other for name in names}
    with pytest.raises(WeightError, match=rf"1 tensor missing.*unexpected.*{mend}"):
        plan("llama", tensors)


def test_long_lists_are_cut() -> None:
    with pytest.raises(WeightError, match=r"30 tensors missing \(lm_head.weight, .* and 22 more\)"):
        plan("llama", {})


def test_layers_of_a_kind_share_one_assembly() -> None:
    """They compare and hash equal, so one compiled program serves them all."""
    slices = plan("llama", tensors_of("llama")).slices
    layers = [piece for piece in slices if piece.target.endswith("mixer.qkv")]
    assert len(layers) == 3
    assert len({piece.assemble for piece in layers}) == 1
