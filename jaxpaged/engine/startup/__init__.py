"""Start-up, a file for each step: set up, read the model, choose its context, compile, tell what was chosen."""
