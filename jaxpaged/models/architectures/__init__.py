"""One data file per model family: how its config.json becomes a DecoderSpec, and where its tensors go."""
