"""Attention of all heads over one latent row per token, in a paged pool."""

from pallas_kernels.latent_attention.api import LatentAttentionResult, latent_attention

__all__ = ["LatentAttentionResult", "latent_attention"]
