"""One data file per GGUF architecture, or for several that are alike."""
