"""How the bundled demo model is made: its text, its rows of tokens, its files and its exam."""
