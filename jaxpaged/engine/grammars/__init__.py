"""Structured requests of an engine: grammars that are being compiled, and masks for the rows that run."""
