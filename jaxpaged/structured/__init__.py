"""Structured output: grammars from schemas, expressions and tags, and the tokens that may follow."""
