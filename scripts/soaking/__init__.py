"""Load with faults against a server of our own, and what is left of it."""
