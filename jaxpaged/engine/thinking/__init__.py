"""Requests whose thoughts may hold so many tokens and no more."""
