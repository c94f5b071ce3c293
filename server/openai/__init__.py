"""OpenAI's Completions and Chat Completions protocols: bodies, their parser, and how answers look."""
