"""From logits to tokens on the device: stages that change logits, then one draw per row from its own stream.

A row's token and log probabilities depend on that row alone: not on its batch mates, the batch size or the variant.
"""
