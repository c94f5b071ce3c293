"""GGUF files: read within bounds, described as a Hugging Face model directory, dequantized tensor by tensor."""
