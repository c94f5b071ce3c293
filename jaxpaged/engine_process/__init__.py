"""An engine in a process of its own, behind a pipe of messages."""
