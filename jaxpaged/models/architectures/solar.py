"""Solar in Llama's form; that of Solar Pro, whose layers read the rows of much earlier ones (bskcn), is refused."""

from __future__ import annotations

from jaxpaged.models.architecture import Architecture
from jaxpaged.models.architectures import llama

ARCHITECTURE = Architecture(
    names=("SolarForCausalLM",),
    model_type="solar",
    spec_from_hf=llama.spec_from_hf,
    weights=llama.WEIGHTS,
    used_keys=llama.ARCHITECTURE.used_keys,
    ignored_keys=llama.ARCHITECTURE.ignored_keys,
    fixed_keys=dict.fromkeys(("bskcn_1", "bskcn_2", "bskcn_3", "bskcn_4", "bskcn_tv")),
)
