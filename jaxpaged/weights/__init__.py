"""Weights: found (hub), checked (headers), read by Orbax (checkpoint), assembled into the model's leaves (loader)."""
