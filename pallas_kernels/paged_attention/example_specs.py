"""The shapes and score options that tests, benches and tuning share."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from pallas_kernels.paged_attention.score import ScoreMod


@dataclass(frozen=True)
class Spec:
    """One attention layer's shape. alibi, sinks: whether the call passes them."""

    name: str
    q_heads: int
    kv_heads: int
    head_dim: int
    page_size: int = 32
    window: int | None = None
    soft_cap: float | None = None
    alibi: bool = False
    sinks: bool = False
    chunk: int | None = None

    @property
    def score(self) -> ScoreMod:
        return ScoreMod(scale=self.head_dim**-0.5, window=self.window, soft_cap=self.soft_cap, chunk=self.chunk)


SPECS = (
    Spec("smol135", 9, 3, 64),
    Spec("gqa4_page16", 8, 2, 32, page_size=16),
    Spec("mha_page8", 4, 4, 16, page_size=8),
    Spec("mqa16", 16, 1, 80),
    Spec("page_of_256", 4, 2, 32, page_size=256),
    Spec("window", 4, 2, 32, page_size=16, window=37),
    Spec("window_of_one", 4, 4, 16, page_size=16, window=1),
    Spec("window_over_blocks", 4, 2, 32, page_size=16, window=150),
    Spec("soft_cap", 4, 2, 32, page_size=16, soft_cap=5.0),
    Spec("alibi", 6, 6, 16, page_size=16, alibi=True),
    Spec("sinks", 8, 2, 32, page_size=16, sinks=True),
    Spec("all_at_once", 6, 2, 48, page_size=16, window=50, soft_cap=10.0, alibi=True, sinks=True),
)
BY_NAME = MappingProxyType({spec.name: spec for spec in SPECS})
# Shapes of models as they are served: what kernels are compiled for, too large to compute with in tests.
MODEL_SPECS = (
    Spec("llama8b", 32, 8, 128),
    Spec("qwen7b", 28, 4, 128),
    Spec("smol135", 9, 3, 64),
    Spec("gemma2", 16, 8, 256, window=4096, soft_cap=50.0),
    Spec("falcon7b", 71, 1, 64),
    Spec("bloom", 32, 32, 128, alibi=True),
    Spec("phi3_page16", 32, 32, 96, page_size=16),
    Spec("gpt_oss_page128", 64, 8, 64, page_size=128, window=128, sinks=True),
)
# (implementation, spec, dtype of the pool) that the implementation refuses on its own hardware -> why.
HALF_A_REGISTER = "a page's slots do not fill a register of the TPU, and a copy moves whole registers"
THIRTY_TWO_BITS = "a Hopper product has no 32-bit operands of full precision"
REFUSED = MappingProxyType(
    {
        **{("mosaic_gpu", spec.name, "float32"): THIRTY_TWO_BITS for spec in (*SPECS, *MODEL_SPECS)},
        ("mosaic_tpu", "mha_page8", "bfloat16"): HALF_A_REGISTER,
        ("mosaic_tpu", "mha_page8", "float8_e4m3fn"): HALF_A_REGISTER,
        **{("mosaic_tpu", spec.name, "float8_e4m3fn"): HALF_A_REGISTER for spec in SPECS if spec.page_size == 16},
    }
)
