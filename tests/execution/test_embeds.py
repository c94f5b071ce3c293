"""Prompt embeddings on their way to the device: they are kept as long as their request, no longer."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from jaxpaged.execution.embeds import PromptEmbeds


def plan(row: int, start: int, count: int):
    part = SimpleNamespace(rows=np.array([row]), starts=np.array([start]), counts=np.array([count]))
    return SimpleNamespace(shards=(part,))


def test_they_end_with_their_request_not_with_the_next_one_in_their_row() -> None:
    kept = PromptEmbeds()
    embeds = np.arange(12, dtype=np.float32).reshape(3, 4)
    kept.admit(0, SimpleNamespace(row=2, prompt_embeds=embeds))
    given, used = kept.of(plan(2, 1, 2), 4)
    assert used.tolist() == [[True, True, False, False]]
    assert given[0, :2].tolist() == embeds[1:3].tolist()
    assert kept.of(plan(2, 3, 1), 4) is None  # a token after the prompt
    del embeds
    assert not kept.rows
    assert kept.of(plan(2, 0, 2), 4) is None
