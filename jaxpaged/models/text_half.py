"""Multimodal checkpoints served for text: what config.json nests in text_config, without the tensors of other towers.

A token's place among images and frames is the same number three times for text, so M-RoPE is plain rope here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.models.architecture import Architecture, Config
from jaxpaged.models.spec import DecoderSpec
from jaxpaged.models.weight_rules import Rule, WeightRules, tower_rules

# The usual name first; the others are those of older checkpoints.
PREFIXES = ("model.language_model.", "language_model.model.", "model.")
OLD_HEAD = "language_model.lm_head.weight"
TOWERS = r"^(model\.)?(vision_tower|vision_model|visual|multi_modal_projector)\..*"
OUTER_KEYS = frozenset(
    """
    boi_token_index eoi_token_index image_token_id image_token_index mm_tokens_per_image multimodal_projector_bias
    projector_hidden_act spatial_merge_size tie_word_embeddings video_token_id vision_config vision_end_token_id
    vision_feature_layer vision_start_token_id vision_token_id
    """.split()
)
MROPE_KEYS = frozenset({"mrope_interleaved", "mrope_section"})


def text_half(
    name: str, model_type: str, families: Mapping[str, Architecture], defaults: Config | None = None
) -> Architecture:
    """The Architecture `name`, whose text half is one of `families` by the model_type of text_config.

    The first family is that of a text_config without the key, and of a config.json that nests nothing.
    defaults: what the keys mean that text_config leaves out.
    """
    first = next(iter(families.values()))

    def spec_from_hf(config: Config) -> DecoderSpec:
        text = {**(defaults or {}), **text_config(config)}
        kind = text.get("model_type")
        if kind is not None and kind not in families and config.get("text_config"):
            raise UnsupportedModelError(
                f"text_config of config.json has model_type={kind!r}, which is not implemented as the text half of "
                f"{name}; known are {', '.join(families)}."
            )
        family = families.get(str(kind), first)
        family.check_keys(text)
        return family.spec_from_hf(text)

    return Architecture(
        names=(name,),
        model_type=model_type,
        spec_from_hf=spec_from_hf,
        weights=_weights(first.weights),
        text_half=True,
        used_keys=frozenset({"text_config"}),
        ignored_keys=OUTER_KEYS.union(*(family.used_keys | family.ignored_keys for family in families.values())),
    )


def text_config(config: Config) -> dict[str, Any]:
    """The text half's own config, with plain rope."""
    nested = config.get("text_config")
    text = dict(nested) if nested else {key: value for key, value in config.items() if key not in _OUTER_ONLY}
    if text.get("tie_word_embeddings") is None:
        text["tie_word_embeddings"] = config.get("tie_word_embeddings")
    for key in ("rope_parameters", "rope_scaling"):
        if text.get(key):
            text[key] = _plain_rope(text[key])
    return text


_OUTER_ONLY = OUTER_KEYS - {"tie_word_embeddings"}


def _plain_rope(values: Config) -> dict[str, Any]:
    plain = {key: value for key, value in values.items() if key not in MROPE_KEYS}
    kinds = {key: "default" for key in ("rope_type", "type") if plain.get(key) == "mrope"}
    return {**plain, **kinds}


def _weights(weights: WeightRules) -> WeightRules:
    def with_old_head(rule: Rule) -> Rule:
        return replace(rule, aliases=(*rule.aliases, OLD_HEAD)) if rule.target == "head.weight" else rule

    rules = tower_rules(map(with_old_head, weights.rules), PREFIXES, strip=weights.prefix)
    return replace(weights, rules=rules, ignored=(*weights.ignored, TOWERS))
