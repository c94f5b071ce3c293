"""The layers that a Decoder is built from. Params are declared once, with their logical axes."""
