"""All parity cases whose reference is transformers."""

from tests.models.attention_cases import ATTENTION
from tests.models.dense_cases import DENSE
from tests.models.expert_cases import EXPERTS
from tests.models.first_cases import FIRST
from tests.models.foundation_cases import FOUNDATION
from tests.models.latent_cases import LATENT
from tests.models.multimodal_cases import MULTIMODAL

CASES = (*FOUNDATION, *EXPERTS, *LATENT, *ATTENTION, *DENSE, *FIRST, *MULTIMODAL)
CASE = {case.name: case for case in CASES}
# The architectures whose reference is transformers.
COMPARED = frozenset(name for case in CASES for name in case.config["architectures"])
