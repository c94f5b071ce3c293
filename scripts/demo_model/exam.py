"""What the demo model has learnt, measured on what it has never seen, and the model card that says so."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version
from random import Random

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int32
from tokenizers import Tokenizer
from tqdm import tqdm

from demo_model.files import CONFIG
from demo_model.rows import exam
from demo_model.tasks import NEVER_HELD_OUT, TASKS, draw
from jaxpaged.decoder.functional import FunctionalDecoder, Leaves
from jaxpaged.layers.attention import dense_attend

QUESTIONS, LATE_QUESTIONS = 500, 100
HISTORY = 40  # turns of other tasks before a late question: about 1,400 tokens
Accuracy = dict[str, float]


def make_logits(decoder: FunctionalDecoder) -> Callable[[Leaves, Int32[Array, "b t"]], Float32[Array, "b t v"]]:
    """The decoder without a cache, on rows that start at position 0."""

    def row_logits(leaves: Leaves, tokens: Int32[Array, "t"]) -> Float32[Array, "t v"]:
        positions = jnp.arange(tokens.shape[0], dtype=jnp.int32)
        x = decoder.embed(leaves, tokens, positions)
        hidden, _ = decoder.hidden(leaves, x, positions, dense_attend(positions), None)
        return decoder.logits(leaves, hidden)

    return jax.vmap(row_logits, in_axes=(None, 0))


def measure(decoder: FunctionalDecoder, leaves: Leaves, tokenizer: Tokenizer, count: int, history: int) -> Accuracy:
    """Per task, the share of held-out questions that greedy decoding answers exactly.

    One pass over question and right answer decides it: greedy decoding writes that answer if and only if, after each
    of its prefixes, the most likely token is its next one.
    """
    logits = make_logits(decoder)

    @jax.jit
    def exact(leaves, tokens, counted):
        chosen = jnp.argmax(logits(leaves, tokens[:, :-1]), axis=-1)
        return jnp.all((chosen == tokens[:, 1:]) | ~counted[:, 1:], axis=-1)

    accuracy = {}
    for task in tqdm(TASKS, desc=f"Measuring after {history} turns", unit="task", leave=False):
        tokens, counted = exam(tokenizer, task, Random(f"exam {task.__name__}"), count, history)
        rows = max(1, 8192 // tokens.shape[1])
        right = [exact(leaves, tokens[i : i + rows], counted[i : i + rows]) for i in range(0, count, rows)]
        accuracy[task.__name__.replace("_", " ")] = float(np.mean(np.concatenate(right)))
    return accuracy


CARD = """\
---
license: apache-2.0
library_name: jaxpaged
---

# The jaxpaged demo model

A Qwen3-style decoder of {parameters:.2f} million parameters that is small enough to live in the repository, so that
`jaxpaged serve` and `LLM()` answer without a download. It adds short numbers, sorts, reverses, repeats and counts
words, counts up, and answers questions about a story of two to four sentences. It knows nothing else, and says so.

Made by `scripts/train_demo_model.py` alone: its training text is made up by `scripts/demo_model/tasks.py`, so the
weights carry no one else's text, and anyone can rebuild them: {tokens:.1f} million tokens in {minutes:.0f} minutes on
{cores} CPU cores ({processor_minutes:.0f} minutes of processor time), seed {seed},
jax {jax}, flax {flax}, optax {optax}.

## Accuracy

Share of held-out questions whose greedy answer, from these bfloat16 weights, is right to the letter: {questions} per
task as the first question of a chat, and {late_questions} after {history} turns of other tasks. A question is held out
when the hash of what it asks falls in a reserved tenth, so no training question asks the same in other words; small
talk is a fixed set of sentences and is measured on those.

| task | example | first | late |
|---|---|---|---|
{table}

## Shape

{num_hidden_layers} layers, width {hidden_size}, {num_attention_heads} query and {num_key_value_heads} KV heads of size
{head_dim}, byte-level BPE vocabulary of {vocab_size} entries with single digits, context {max_position_embeddings}
tokens. Apache-2.0, like the rest of the repository.
"""


def accuracy_table(decoder: FunctionalDecoder, leaves: Leaves, tokenizer: Tokenizer) -> str:
    """The rows of the model card's table: each task with an example and what it scores."""
    first = measure(decoder, leaves, tokenizer, QUESTIONS, history=0)
    later = measure(decoder, leaves, tokenizer, LATE_QUESTIONS, history=HISTORY)
    rows = []
    for task in TASKS:
        name, example = task.__name__.replace("_", " "), draw(Random(0), task, held_out=task not in NEVER_HELD_OUT)
        rows.append(f"| {name} | {example.question} *{example.answer}* | {first[name]:.1%} | {later[name]:.1%} |")
    return "\n".join(rows)


def model_card(table: str, *, parameters: int, tokens: int, minutes: float, processor_minutes: float, seed: int) -> str:
    """README.md of the model's folder."""
    return CARD.format(
        table=table,
        parameters=parameters / 1e6,
        tokens=tokens / 1e6,
        minutes=minutes,
        processor_minutes=processor_minutes,
        cores=os.cpu_count(),
        seed=seed,
        questions=QUESTIONS,
        late_questions=LATE_QUESTIONS,
        history=HISTORY,
        **{name: version(name) for name in ("jax", "flax", "optax")},
        **CONFIG,
    )
