"""What a session with a GPU measures: kernels beside the card's own ceilings, and the engine beside transformers."""
