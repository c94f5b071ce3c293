"""The KV cache: what a layer keeps (spec, jax-free) and the device pool of pages that holds it."""
