"""What can be served: the family of every architecture name, and the module of every kind of layer part.

A new family with layers of a kind of its own is registered here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType, ModuleType

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.architectures import (
    afmoe,
    apertus,
    arcee,
    baichuan,
    bloom,
    chatglm,
    cohere,
    decilm,
    deepseek_v2,
    deepseek_v3,
    ernie4_5,
    ernie4_5_moe,
    exaone,
    exaone4,
    exaone_moe,
    falcon,
    flex_olmo,
    gemma,
    gemma2,
    gemma3,
    glm,
    glm4_moe,
    glm4_moe_lite,
    gpt2,
    gpt_bigcode,
    gpt_neox,
    gpt_oss,
    gptj,
    granite,
    granitemoe,
    hunyuan,
    hunyuan_moe,
    internlm,
    internlm2,
    internlm3,
    llama,
    llama4,
    minicpm,
    minicpm3,
    minimax_m2,
    ministral3,
    mistral,
    mistral4,
    mixtral,
    mpt,
    multimodal,
    nemotron,
    olmo,
    olmoe,
    opt,
    orion,
    persimmon,
    phi,
    phi3,
    phimoe,
    qwen,
    qwen2,
    qwen2_moe,
    qwen3,
    qwen3_moe,
    seed_oss,
    smollm3,
    solar,
    stablelm,
    starcoder2,
)
from jaxpaged.models.config_values import check_spec, check_values
from jaxpaged.models.experts import Experts
from jaxpaged.models.latent import LatentAttention
from jaxpaged.models.quantized import refuse_quantized
from jaxpaged.models.spec import MLP, Attention, DecoderSpec, GatedMLP


def families_of(module: ModuleType) -> tuple[Architecture, ...]:
    """What a family's file declares: one ARCHITECTURE, or several ARCHITECTURES."""
    several: tuple[Architecture, ...] = getattr(module, "ARCHITECTURES", ())
    return several or (module.ARCHITECTURE,)


FAMILIES: tuple[ModuleType, ...] = (
    afmoe,
    apertus,
    arcee,
    baichuan,
    bloom,
    chatglm,
    cohere,
    decilm,
    deepseek_v2,
    deepseek_v3,
    ernie4_5,
    ernie4_5_moe,
    exaone,
    exaone4,
    exaone_moe,
    falcon,
    flex_olmo,
    gemma,
    gemma2,
    gemma3,
    glm,
    glm4_moe,
    glm4_moe_lite,
    gpt2,
    gpt_bigcode,
    gpt_neox,
    gpt_oss,
    gptj,
    granite,
    granitemoe,
    hunyuan,
    hunyuan_moe,
    internlm,
    internlm2,
    internlm3,
    llama,
    llama4,
    minicpm,
    minicpm3,
    minimax_m2,
    ministral3,
    mistral,
    mistral4,
    mixtral,
    mpt,
    multimodal,
    nemotron,
    olmo,
    olmoe,
    opt,
    orion,
    persimmon,
    phi,
    phi3,
    phimoe,
    qwen,
    qwen2,
    qwen2_moe,
    qwen3,
    qwen3_moe,
    seed_oss,
    smollm3,
    solar,
    stablelm,
    starcoder2,
)
ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {name: family for module in FAMILIES for family in families_of(module) for name in family.names}
)

# Classes without a head, and those that read model_type themselves: BloomModel, AutoModelForCausalLM.
BASE_CLASSES = ("Model", "AutoModelForCausalLM")
# What tells that a config.json is like Llama's.
LLAMA_KEYS = (
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_hidden_layers",
    "rms_norm_eps",
    "vocab_size",
)
# Named, not imported: what a model is can be read without the modules that compute it.
LAYER_PARTS: Mapping[type, str] = MappingProxyType(
    {
        Attention: "jaxpaged.layers.attention:Attention",
        LatentAttention: "jaxpaged.layers.latent_attention:LatentAttention",
        MLP: "jaxpaged.layers.mlp:MLP",
        GatedMLP: "jaxpaged.layers.mlp:GatedMLP",
        Experts: "jaxpaged.layers.experts:Experts",
    }
)


@dataclass(frozen=True, slots=True)
class Registry:
    """The families and layer parts of one engine: ours, or others beside them."""

    architectures: Mapping[str, Architecture] = field(default_factory=lambda: ARCHITECTURES)
    layer_parts: Mapping[type, str] = field(default_factory=lambda: LAYER_PARTS)

    def adding(self, family: Architecture, layer_parts: Mapping[type, str] = MappingProxyType({})) -> Registry:
        """This registry with one more family; its kinds of layer parts are its own and those given here."""
        return replace(
            self,
            architectures={**self.architectures, **dict.fromkeys(family.names, family)},
            layer_parts={**self.layer_parts, **family.layer_parts, **layer_parts},
        )

    def find_architecture(self, config: Config) -> Architecture:
        """The family of a config. Raises UnsupportedModelError that names the architecture and those we have."""
        return _find(self.architectures, config)

    def spec_from_config(self, config: Config) -> DecoderSpec:
        """The decoder that config.json describes.

        Raises UnsupportedModelError, by name, for an architecture or a key that is not implemented, or a broken value.
        """
        check_values(config)
        architecture = self.find_architecture(config)
        refuse_quantized(config, architecture.unpacked)
        architecture.check_keys(config)
        spec = architecture.spec_from_hf(config)
        check_spec(spec)
        return spec


REGISTRY = Registry()
find_architecture = REGISTRY.find_architecture
spec_from_config = REGISTRY.spec_from_config


def _find(architectures: Mapping[str, Architecture], config: Config) -> Architecture:
    names: Sequence[str] = config.get("architectures") or []
    served = {name.lower(): family for name, family in architectures.items()}
    found = next((served[name.lower()] for name in names if name.lower() in served), None)
    kind = config.get("model_type")
    if found is None and kind and all(name.endswith(BASE_CLASSES) for name in names):
        found = next((each for each in architectures.values() if each.model_type == kind), None)
    if found is None:
        raise UnsupportedModelError(
            f"the model's architecture is {_asked(config, names)}; supported are {', '.join(sorted(architectures))}."
            + (" A model's own Python code (auto_map) is never run." if config.get("auto_map") else "")
            + _hint(config)
        )
    return found


def _hint(config: Config) -> str:
    """How to serve an architecture whose config.json has all that Llama's has."""
    if any(config.get(key) is None for key in LLAMA_KEYS):
        return ""
    register = "jaxpaged.register_architecture adds a family of your own (docs/custom_models.md has an example)"
    if llama.ARCHITECTURE.refused_keys(config):
        return f" Its config.json is like Llama's: {register}."
    override = "hf_overrides={'architectures': ['LlamaForCausalLM']}"
    return f" Its config.json is like Llama's: pass {override} if its tensors are named like Llama's; else {register}."


def _asked(config: Config, names: Sequence[str]) -> str:
    kind = config.get("model_type")
    if names:
        return ", ".join(names) + (f" (model_type {kind!r})" if kind else "")
    if kind:
        return f"of the model_type {kind!r} (config.json has no `architectures`)"
    return "none (config.json has no `architectures` and no `model_type`; name them with hf_overrides)"
