"""Examples as rows of tokens: conversations to learn from, and exams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from tokenizers import Tokenizer

from demo_model.files import ASSISTANT, END, ENDOFTEXT, SYSTEM, USER
from demo_model.tasks import NEVER_HELD_OUT, Example, Task, conversation, draw


@dataclass(frozen=True)
class Phase:
    """So many optimizer steps on `rows` rows of `length` tokens."""

    steps: int
    rows: int
    length: int


@dataclass
class Row:
    """Token ids with the weight of each as a target: answers count fully, questions a little, markers not at all."""

    ids: list[int]
    weights: list[float]

    def add(self, ids: list[int], weight: float) -> None:
        self.ids += ids
        self.weights += [weight] * len(ids)


QUESTION_WEIGHT = 0.05


def chat_row(system: list[int], turns: list[tuple[list[int], list[int]]]) -> Row:
    """The chat template's tokens for a system prompt (may be empty) and (question, answer) turns."""
    row = Row([], [])
    if system:
        row.add([SYSTEM, *system, END], 0.0)
    for question, answer in turns:
        row.add([USER], 0.0)
        row.add(question, QUESTION_WEIGHT)
        row.add([END, ASSISTANT], 0.0)
        row.add([*answer, END], 1.0)
    return row


def plain_row(newline: list[int], turns: list[tuple[list[int], list[int]]]) -> Row:
    """The same as bare text for completion without a template: question, newline, answer, end of text."""
    row = Row([], [])
    for question, answer in turns:
        row.add(question, QUESTION_WEIGHT)
        row.add(newline, 0.0)
        row.add([*answer, ENDOFTEXT], 1.0)
    return row


def stack_rows(rows: list[Row], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens int32 [rows, length + 1] and weights float32 of the same shape; cut or filled with end of text."""
    tokens = np.full((len(rows), length + 1), ENDOFTEXT, np.int32)
    weights = np.zeros(tokens.shape, np.float32)
    for i, row in enumerate(rows):
        n = min(len(row.ids), length + 1)
        tokens[i, :n], weights[i, :n] = row.ids[:n], row.weights[:n]
    return tokens, weights


def batches(phases: Sequence[Phase], tokenizer: Tokenizer, rng: Random) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Tokens and weights of every step; each row is one conversation of as many turns as fit."""
    newline = tokenizer.encode("\n").ids
    for phase in phases:
        for _ in range(phase.steps):
            conversations = [conversation(rng, 1 + phase.length // 16) for _ in range(phase.rows)]
            texts = [
                text
                for system, turns in conversations
                for text in (system, *(t for e in turns for t in (e.question, e.answer)))
            ]
            ids = iter([encoding.ids for encoding in tokenizer.encode_batch(texts)])
            rows = []
            for _, examples in conversations:
                system, turns = next(ids), [(next(ids), next(ids)) for _ in examples]
                rows.append(plain_row(newline, turns) if rng.random() < 0.08 else chat_row(system, turns))
            yield stack_rows(rows, phase.length)


def encode(tokenizer: Tokenizer, example: Example) -> tuple[list[int], list[int]]:
    question, answer = tokenizer.encode_batch([example.question, example.answer])
    return question.ids, answer.ids


def exam(tokenizer: Tokenizer, task: Task, rng: Random, count: int, history: int) -> tuple[np.ndarray, np.ndarray]:
    """Chats that end with a held-out question of the task and its answer, after `history` turns of other tasks.

    Tokens int32 [count, length] and which of them (bool) are the last answer.
    """
    rows, answers = [], []
    for _ in range(count):
        asked = draw(rng, task, held_out=task not in NEVER_HELD_OUT)
        row = chat_row([], [encode(tokenizer, example) for example in (*conversation(rng, history)[1], asked)])
        rows.append(row)
        answers.append(range(len(row.ids) - len(encode(tokenizer, asked)[1]) - 1, len(row.ids)))
    length = -(-max(len(row.ids) for row in rows) // 64) * 64
    tokens, _ = stack_rows(rows, length)
    counted = np.zeros(tokens.shape, np.bool_)
    for row, answer in enumerate(answers):
        counted[row, answer] = True
    return tokens, counted
