"""The wire type of /v1/batches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from server.openai.schema import Body
from server.responses.schema import Metadata


class ExpiresAfter(Body):
    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=0, lt=2**31)]


class BatchRequest(Body):
    """POST /v1/batches."""

    input_file_id: Annotated[str, Field(min_length=1, max_length=128)]
    endpoint: Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]
    completion_window: Literal["24h"]
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = None
