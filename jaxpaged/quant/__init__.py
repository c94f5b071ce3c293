"""Weight formats: what a scheme is, the schemes, and products with what they store."""
