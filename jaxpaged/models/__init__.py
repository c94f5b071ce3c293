"""Models as data: a DecoderSpec made of typed parts, and a data file for each family."""
