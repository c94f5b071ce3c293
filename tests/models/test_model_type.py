"""Which family a config.json is of, where `architectures` says it or does not."""

from __future__ import annotations

from typing import Any

import pytest

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.models.registry import ARCHITECTURES, FAMILIES, families_of, find_architecture, spec_from_config
from tests.models.published import PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("base", [None, [], ["Model"], ["AutoModelForCausalLM"]], ids=str)
def test_model_type_decides_where_no_class_with_a_head_is_named(name: str, base: list[str] | None) -> None:
    config = PUBLISHED[name]
    stem = config["architectures"][0].replace("ForCausalLM", "").replace("LMHeadModel", "")
    classes = [stem + "Model"] if base == ["Model"] else base
    assert spec_from_config({**config, "architectures": classes}) == spec_from_config(config)


def test_the_old_spelling_of_llama() -> None:
    assert find_architecture({"architectures": ["LLaMAForCausalLM"]}) is ARCHITECTURES["LlamaForCausalLM"]


def test_families_differ_in_their_model_type() -> None:
    kinds = [family.model_type for module in FAMILIES for family in families_of(module)]
    assert all(kinds)
    assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architectures": ["LlamaForSequenceClassification"], "model_type": "llama"}, "is LlamaForSequenceClassif"),
        ({"architectures": ["MambaModel"], "model_type": "mamba"}, r"is MambaModel \(model_type 'mamba'\); supported"),
        ({"model_type": "mamba"}, r"of the model_type 'mamba' \(config.json has no `architectures`\)"),
        ({"hidden_size": 8}, "no `architectures` and no `model_type`; name them with hf_overrides"),
        ({"architectures": ["LlamaModel"]}, "is LlamaModel; supported"),
        ({"model_type": ["llama"]}, r"model_type=\['llama'\], which should be a text"),
        (
            {
                "architectures": ["KimiLinearForCausalLM"],
                "auto_map": {"AutoModel": "x.Y"},
                "quantization_config": {"a": 1},
            },
            r"^the model's architecture is KimiLinearForCausalLM.*Python code \(auto_map\) is never run",
        ),
    ],
)
def test_what_is_not_served_is_named_first(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        spec_from_config(config)
