"""Parity cases of the parts of attention: sinks, chunks, temperature, gates."""

from tests.models.case import LONGEST, ORIGINAL, Case, llama_like

_YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "original_max_position_embeddings": ORIGINAL,
}
_MINISTRAL = {
    "rope_theta": 1000000.0,
    **_YARN,
    "original_max_position_embeddings": 8,
    "factor": 16.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.4,
    "max_position_embeddings": LONGEST,
}

ATTENTION = (
    Case(
        "ministral3",
        llama_like("Ministral3ForCausalLM", "ministral3", num_hidden_layers=2, head_dim=16, rope_parameters=_MINISTRAL),
    ),
)
