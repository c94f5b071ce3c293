"""Models as data: a DecoderSpec made of typed parts, and the one Decoder that realises it."""
