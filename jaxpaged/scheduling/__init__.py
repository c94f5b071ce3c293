"""Continuous batching on the host: who computes which tokens in the next step, and in which pages. No JAX here."""
