"""What latent attention keeps per token: one row for all heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxpaged.kv.kind import PageArray, PagePolicy
from jaxpaged.kv.policies import FullPages

if TYPE_CHECKING:
    from pallas_kernels.paged_attention import PoolLayout


@dataclass(frozen=True, slots=True)
class LatentSpec:
    """A row of `lanes` elements of every token so far: the latent, then the key part that has positions.

    No heads, so every device of a tensor-parallel mesh has all of it.
    """

    lanes: int

    @property
    def keeps_all(self) -> bool:
        return True

    def page_array(self, layout: PoolLayout, page_size: int) -> PageArray:
        return PageArray((page_size, layout.row_lanes(self.lanes)), ("slot", None))

    def policy(self, page_size: int) -> PagePolicy:
        return FullPages(page_size)
