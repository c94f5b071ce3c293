"""What a family's data file declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.models.spec import DecoderSpec
from jaxpaged.models.weight_rules import WeightRules

Config = Mapping[str, Any]

# Keys of config.json that no model's arithmetic depends on when it serves.
COMMON_KEYS = frozenset(
    """
    _attn_implementation _attn_implementation_autoset _commit_hash _name_or_path architectures auto_map
    attention_dropout attn_pdrop bos_token_id cache_implementation classifier_dropout decoder_start_token_id dropout
    dtype embd_pdrop eos_token_id finetuning_task gradient_checkpointing hidden_dropout id2label initializer_range
    label2id model_type name_or_path output_attentions output_hidden_states pad_token_id prefix problem_type
    resid_pdrop return_dict sep_token_id task_specific_params tokenizer_class torch_dtype torchscript
    transformers_version unk_token_id unsloth_fixed unsloth_version use_cache chunk_size_feed_forward is_decoder
    """.split()
)
# What every decoder-only model is.
COMMON_FIXED = MappingProxyType(
    {"add_cross_attention": False, "is_encoder_decoder": False, "pruned_heads": {}, "tie_encoder_decoder": False}
)


@dataclass(frozen=True, slots=True)
class Architecture:
    """A model family as data.

    names: the values of config.json's `architectures` that it serves. used_keys: keys that spec_from_hf reads.
    ignored_keys: keys without a bearing on the result. fixed_keys: keys accepted with this one value.
    """

    names: tuple[str, ...]
    spec_from_hf: Callable[[Config], DecoderSpec]
    weights: WeightRules
    used_keys: frozenset[str]
    ignored_keys: frozenset[str] = frozenset()
    fixed_keys: Mapping[str, Any] = field(default_factory=dict)

    def check_keys(self, config: Config) -> None:
        """Refuse, by name, every key of config.json that could change the result and is not implemented."""
        known = self.used_keys | self.ignored_keys | COMMON_KEYS
        fixed = {**COMMON_FIXED, **self.fixed_keys}
        unknown = [key for key, value in config.items() if key not in known and value is not None]
        refused = sorted(key for key in unknown if key not in fixed or config[key] != fixed[key])
        if refused:
            listed = ", ".join(f"{key}={config[key]!r}" for key in refused)
            raise UnsupportedModelError(
                f"config.json sets {listed}, which {self.names[0]} does not implement here. If a key has no bearing on "
                f"the result, drop it with hf_overrides, e.g. {{{refused[0]!r}: None}}."
            )
