"""Phi-3, 3.5 and 4-mini as they are published: code beside them, two names of long rope, windows beyond the context."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from jaxpaged.layers.rope import frequencies_of
from jaxpaged.models.registry import spec_from_config
from jaxpaged.models.rope import LongRopeScaling, Rope

PHI3: dict[str, Any] = {
    "architectures": ["Phi3ForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_phi3.Phi3Config",
        "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM",
        "AutoTokenizer": "Xenova/gpt-4o",
    },
    "attention_bias": False,
    "embd_pdrop": 0.0,
    "hidden_act": "silu",
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "max_position_embeddings": 131072,
    "model_type": "phi3",
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 32,
    "original_max_position_embeddings": 4096,
    "resid_pdrop": 0.0,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "sliding_window": 262144,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 32064,
}
PHI4_MINI = {
    "full_attn_mod": 1,
    "interpolate_factor": 1,
    "lm_head_bias": False,
    "mlp_bias": False,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "partial_rotary_factor": 0.75,
    "tie_word_embeddings": True,
    "vocab_size": 200064,
}
SHORT, LONG = [1.0 + i / 48 for i in range(48)], [1.0 + i for i in range(48)]


@pytest.mark.parametrize("name", ["su", "longrope"])
@pytest.mark.parametrize("changes", [{}, PHI4_MINI], ids=["3.5-mini", "4-mini"])
def test_long_rope(name: str, changes: dict[str, Any]) -> None:
    scaling = {"type": name, "short_factor": SHORT, "long_factor": LONG}
    spec = spec_from_config({**PHI3, **changes, "rope_scaling": scaling})
    magnitude = math.sqrt(1 + math.log(131072 / 4096) / math.log(4096))
    wanted = LongRopeScaling(tuple(SHORT), tuple(LONG), 4096, pytest.approx(magnitude))  # type: ignore[arg-type]
    for layer in spec.layers:
        assert layer.mixer.position == Rope(96, 10000.0, "halves", wanted)
    assert spec.max_position == 131072
    assert spec.served_at(131072).layers[0].mixer.window is None
    for length, factors in ((4096, SHORT), (4097, LONG)):
        frequencies, scale = frequencies_of(spec.layers[0].mixer.position, length)
        np.testing.assert_allclose(frequencies, 10000.0 ** (-np.arange(48) / 48) / factors, rtol=1e-6)
        assert scale == pytest.approx(magnitude)


@pytest.mark.parametrize("window", [2047, None])
def test_without_scaling(window: int | None) -> None:
    changes = {"max_position_embeddings": 4096, "rope_scaling": None, "sliding_window": window}
    mixer = spec_from_config({**PHI3, **changes}).served_at(4096).layers[0].mixer
    assert mixer.position == Rope(96, 10000.0)
    assert mixer.window == window
