"""Prompt embeddings of running rows, handed to the device chunk by chunk in place of token ids."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from jaxpaged.scheduling.plan import Admission, StepPlan


@dataclass(slots=True)
class PromptEmbeds:
    """By (data shard, device row): float32 [prompt_len, width], from admission until the prompt's last chunk.

    Plans alone decide, so that every host of an engine holds the same. What is aborted within its prompt stays until
    its row is given away.
    """

    rows: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)

    def admit(self, shard: int, admission: Admission) -> None:
        self.rows.pop((shard, admission.row), None)
        if admission.prompt_embeds is not None:
            self.rows[shard, admission.row] = admission.prompt_embeds

    def of(self, plan: StepPlan, tokens: int) -> tuple[np.ndarray, np.ndarray] | None:
        """(embeddings [d, tokens, width], which tokens use them [d, tokens]), or None when the plan needs none."""
        if not self.rows:
            return None
        width = next(iter(self.rows.values())).shape[1]
        embeds = np.zeros((len(plan.shards), tokens, width), np.float32)
        used = np.zeros((len(plan.shards), tokens), np.bool_)
        for index, shard in enumerate(plan.shards):
            first = 0
            for row, start, count in zip(
                shard.rows.tolist(), shard.starts.tolist(), shard.counts.tolist(), strict=True
            ):
                prompt = self.rows.get((index, row))
                if prompt is not None and start < len(prompt):
                    part = prompt[start : start + count]
                    embeds[index, first : first + len(part)] = part
                    used[index, first : first + len(part)] = True
                    if start + count >= len(prompt):
                        del self.rows[index, row]
                first += count
        return (embeds, used) if used.any() else None
