"""Embeddings, scores and classes: /v1/embeddings and its neighbours."""
