"""Anthropic's Messages protocol: /v1/messages."""
