"""Block sizes of latent attention: frozen values, chosen at trace time from static shapes alone."""

from __future__ import annotations

from pallas_kernels.paged_attention.config import XlaConfig

# All heads share a row, so a few tokens of a chunk already make large products.
XLA = XlaConfig(chunk_tokens=8)
