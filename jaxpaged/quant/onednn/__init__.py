"""Weights of a CPU laid out once for the oneDNN inside jaxlib, whose products XLA calls by name."""
