"""PoolingParams: what a request asks of a pooling model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PoolingParams:
    """vLLM's settings of embeddings, classes and scores. No pooling model is served yet: using them is refused."""

    use_activation: bool | None = None
    dimensions: int | None = None
    step_tag_id: int | None = None
    returned_token_ids: list[int] | None = None
