"""Beam search on forked pages."""
