"""The attention steps that a GPU is measured on: an 8B Llama's, and other shapes and options."""

from __future__ import annotations

from dataclasses import dataclass

from pallas_kernels.paged_attention.example_specs import MODEL_SPECS, Spec

Lengths = tuple[tuple[int, int], ...]
ITEMSIZES = {"bfloat16": 2, "float8_e4m3fn": 1}


@dataclass(frozen=True)
class Case:
    """One layer's step: sequences as (tokens in pages, new tokens), those with one new token first.

    layers: of the program; many enough that their keys and values, one after the other, do not stay in the cache.
    stored: the pool's dtype. width: of the metadata, as an engine has it; None: as many as there are sequences.
    tokens: padded; None: as many as there are new ones.
    """

    name: str
    spec: Spec
    lengths: Lengths
    layers: int
    stored: str = "bfloat16"
    width: int | None = None
    padded: int | None = None

    @property
    def new_tokens(self) -> int:
        return sum(new for _, new in self.lengths)

    @property
    def tokens(self) -> int:
        return self.padded or self.new_tokens

    @property
    def decodes(self) -> int:
        return sum(new == 1 for _, new in self.lengths)

    @property
    def decodes_only(self) -> bool:
        """As an engine tells it to the op for small steps."""
        return self.decodes == len(self.lengths)

    @property
    def bytes(self) -> int:
        """The fewest that a layer moves: keys and values read once, queries read, outputs written."""
        spec = self.spec
        kept = sum(self._read(old, new) for old, new in self.lengths)
        of_pages = kept * 2 * spec.kv_heads * spec.head_dim * ITEMSIZES[self.stored]
        return of_pages + 2 * 2 * self.new_tokens * spec.q_heads * spec.head_dim

    @property
    def operations(self) -> int:
        """Floating-point operations of a layer's two products, of what queries see alone."""
        return 4 * self.spec.q_heads * self.spec.head_dim * sum(self._seen(old, new) for old, new in self.lengths)

    def floor(self, copy: float, matmul: float) -> float:
        """The least seconds that a layer can take, by bytes and by operations a second."""
        return max(self.bytes / copy, self.operations / matmul)

    def _read(self, old: int, new: int) -> int:
        """Keys that any of a sequence's new tokens sees."""
        return min(old + new, (self.spec.window or old + new) + new - 1)

    def _seen(self, old: int, new: int) -> int:
        """Pairs of a query and a key that it sees."""
        window = self.spec.window or old + new
        short = min(max(window - old, 0), new)  # queries that see all that is before them
        return short * old + short * (short + 1) // 2 + (new - short) * window


def _decodes(count: int, context: int) -> Lengths:
    """The last slots of each one's last page stay unwritten."""
    return ((context - 4, 1),) * count


BY_NAME = {spec.name: spec for spec in MODEL_SPECS}
LLAMA, GEMMA, BLOOM, GPT_OSS = (BY_NAME[name] for name in ("llama8b", "gemma2", "bloom", "gpt_oss_page128"))
FP8 = "float8_e4m3fn"
CASES = (
    Case("decode 64 x 8k", LLAMA, _decodes(64, 8192), 4),
    Case("prefill 4k", LLAMA, ((0, 4096),), 4),
    Case("decode 64 x 1k", LLAMA, _decodes(64, 1024), 16),
    Case("decode 1 x 32k", LLAMA, _decodes(1, 32768), 16),
    Case("decode 64 x 1k, metadata 256 wide", LLAMA, _decodes(64, 1024), 16, width=256),
    Case("prefill 8k", LLAMA, ((0, 8192),), 4),
    Case("prefill 2k", LLAMA, ((0, 2048),), 8),
    Case("prefill 1k", LLAMA, ((0, 1024),), 8),
    Case("mixed 63 x 1k and 1,985 new, metadata 256 wide", LLAMA, (*_decodes(63, 1024), (0, 1985)), 8, width=256),
)
MORE_CASES = (
    Case("decode 64 x 8k, float8", LLAMA, _decodes(64, 8192), 4, FP8),
    Case("prefill 4k, float8", LLAMA, ((0, 4096),), 4, FP8),
    Case("decode 64 x 8k, window 128, sinks", GPT_OSS, _decodes(64, 8192), 4, width=256),
    Case("prefill 4k, window 128, sinks", GPT_OSS, ((0, 4096),), 4),
    Case("decode 64 x 4k, soft cap", GEMMA, _decodes(64, 4096), 4),
    Case("prefill 4k, soft cap", GEMMA, ((0, 4096),), 4),
    Case("decode 16 x 2k, ALiBi", BLOOM, _decodes(16, 2048), 4),
    Case("prefill 2k, ALiBi", BLOOM, ((0, 2048),), 4),
    Case("one token of 1k", LLAMA, _decodes(1, 1024), 16, width=256, padded=8),
)
_SMALL = Spec("small", 4, 2, 64)
_ALL = Spec("all", 4, 2, 64, window=50, soft_cap=10.0, alibi=True, sinks=True)
QUICK_CASES = (
    Case("decode 3 x 128", _SMALL, _decodes(3, 128), 2),
    Case("mixed, all at once, metadata 8 wide", _ALL, (*_decodes(2, 96), (60, 30)), 2, width=8, padded=40),
)
QUICK_MORE_CASES = (Case("prefill 96, float8", _SMALL, ((0, 96),), 2, FP8),)
