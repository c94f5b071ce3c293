"""Where a model's files are: a local directory, or one fetched from the Hugging Face hub."""
