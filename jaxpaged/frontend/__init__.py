"""Text in, text out: what stands between a caller and an engine of token ids."""
