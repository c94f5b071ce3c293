"""The one Decoder, its layer loops, and its pure functional form."""
