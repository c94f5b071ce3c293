"""What a family's data file declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxpaged.errors import UnsupportedModelError
from jaxpaged.models.config_keys import COMMON_KEYS, DECISIVE_KEYS, changes_result
from jaxpaged.models.spec import DecoderSpec
from jaxpaged.models.weight_rules import WeightRules

Config = Mapping[str, Any]

VALUES_SHOWN, LETTERS_SHOWN = 4, 60


@dataclass(frozen=True, slots=True)
class Architecture:
    """A model family as data.

    names: the values of config.json's `architectures` that it serves. used_keys: keys that spec_from_hf reads.
    ignored_keys: keys without a bearing on the result. fixed_keys: keys accepted with this one value.
    model_type: decides where `architectures` names no class or only a base class. layer_parts: the module of each kind
    of layer part that is its own, "module:class" by the type of its spec. text_half: images
    and sounds are not served, though config.json describes towers for them. unpacked: quantization methods whose
    tensors become plain ones while they are read.
    """

    names: tuple[str, ...]
    spec_from_hf: Callable[[Config], DecoderSpec]
    weights: WeightRules
    used_keys: frozenset[str]
    ignored_keys: frozenset[str] = frozenset()
    fixed_keys: Mapping[str, Any] = field(default_factory=dict)
    model_type: str = ""
    layer_parts: Mapping[type, str] = field(default_factory=dict)
    text_half: bool = False
    unpacked: frozenset[str] = frozenset()

    def check_keys(self, config: Config) -> None:
        """Refuse, by name, every key of config.json that changes the result and is not implemented."""
        refused = self.refused_keys(config)
        if not refused:
            return
        listed = ", ".join(f"{key}={_short(config[key])}" for key in refused[:VALUES_SHOWN])
        more = f" and {len(refused) - VALUES_SHOWN} more keys" if len(refused) > VALUES_SHOWN else ""
        raise UnsupportedModelError(
            f"config.json sets {listed}{more}, which {self.names[0]} does not implement here. If a key has no bearing "
            f"on the result, drop it with hf_overrides, e.g. {{{refused[0]!r}: None}}."
        )

    def refused_keys(self, config: Config) -> list[str]:
        """The keys that change the result and are not implemented, in order."""
        return sorted(key for key in self._unread(config) if self._matters(key, config))

    def unknown_keys(self, config: Config) -> tuple[str, ...]:
        """The keys that are set but mean nothing here, and that change nothing as far as is known, in order."""
        decided = DECISIVE_KEYS | self.fixed_keys.keys()
        return tuple(sorted(key for key in self._unread(config) if key not in decided))

    def _unread(self, config: Config) -> list[str]:
        known = self.used_keys | self.ignored_keys | COMMON_KEYS
        return [key for key, value in config.items() if key not in known and value is not None]

    def _matters(self, key: str, config: Config) -> bool:
        return config[key] != self.fixed_keys[key] if key in self.fixed_keys else changes_result(key, config)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LETTERS_SHOWN else f"{text[:LETTERS_SHOWN]}..."
