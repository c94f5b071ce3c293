"""Structured output: grammars from schemas, expressions and tags, and what they allow a sequence to say next."""
