"""What a caller may ask of a request, and what is refused."""
