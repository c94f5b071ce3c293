"""Latent attention in plain XLA, for every backend."""
