"""Kernels of jaxpaged: arrays and scalars in, arrays out. Imports jax, numpy and the standard library only."""
