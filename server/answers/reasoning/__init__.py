"""Reasoning: the block that a model thinks in before it answers, and what it is marked with."""
