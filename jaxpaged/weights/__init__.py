"""Checkpoints to sharded leaves: headers are checked, tensors read by Orbax, put together and inserted."""
