"""Prompt embeddings on their way to the device: they are kept as long as their prompt is computed, no longer."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from jaxpaged.execution.embeds import PromptEmbeds


def plan(row: int, start: int, count: int):
    part = SimpleNamespace(rows=np.array([row]), starts=np.array([start]), counts=np.array([count]))
    return SimpleNamespace(shards=(part,))


def test_they_end_with_their_prompts_last_chunk_not_with_the_next_request_in_their_row() -> None:
    kept = PromptEmbeds()
    embeds = np.arange(12, dtype=np.float32).reshape(3, 4)
    expected = embeds.tolist()
    kept.admit(0, SimpleNamespace(row=2, prompt_embeds=embeds))
    del embeds  # the plan that brought them may be gone: on another host it is
    given, used = kept.of(plan(2, 0, 2), 4)
    assert used.tolist() == [[True, True, False, False]]
    assert given[0, :2].tolist() == expected[:2]
    given, used = kept.of(plan(2, 2, 2), 4)
    assert used.tolist() == [[True, False, False, False]]
    assert given[0, 0].tolist() == expected[2]
    assert not kept.rows
    assert kept.of(plan(2, 4, 1), 4) is None  # a token after the prompt
