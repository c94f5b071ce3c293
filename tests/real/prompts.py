"""The prompts whose answers are recorded. Imports nothing, so that scripts/make_real_goldens.py shares it."""

NEW_TOKENS = 32
SEA = "The sea was calm that morning, and the old fisherman rowed out alone, as he had done for more than forty years. "
LONG = "Here is a story about a fisherman.\n\n" + "".join(f"{day}. {SEA}" for day in range(1, 25)) + "One day, however,"

# Plain texts, and conversations as lists of messages.
PROMPTS: dict[str, str | list[dict[str, str]]] = {
    "capital": "The capital of France is",
    "code": "def fibonacci(n):\n    if n < 2:\n        return n\n",
    "numbers": "1, 2, 4, 8, 16, 32,",
    "accents": "Le petit café du coin était fermé. 日本語 and 👩‍🔬 are written",
    "recipe": "To make a good omelette, first",
    "physics": "The three laws of thermodynamics state that",
    "chat": [{"role": "user", "content": "What is the capital of Japan?"}],
    "chat_system": [
        {"role": "system", "content": "You answer in one short sentence."},
        {"role": "user", "content": "Why is the sky blue?"},
    ],
    "chat_turns": [
        {"role": "user", "content": "Name a fruit."},
        {"role": "assistant", "content": "An apple."},
        {"role": "user", "content": "And a vegetable?"},
    ],
    "long": LONG,
}
