"""The wire types of what pooling models answer: embeddings, scores, classes.

Unknown fields are ignored as everywhere; those that change an answer are named, so that a bad one is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from server.openai.schema import Body, ChatMessage, Int64, TokenId

MAX_INPUTS = 2048
Text = Annotated[str, Field(min_length=1)]
Document = Text | dict[str, Any]
Documents = Annotated[list[Document], Field(min_length=1, max_length=MAX_INPUTS)]
Input = str | list[TokenId] | list[str] | list[list[TokenId]]
Truncation = Annotated[int, Field(ge=-1, lt=2**31)]


class PoolingBody(Body):
    """What all of them share."""

    model: str | None = None
    truncate_prompt_tokens: Truncation | None = None
    add_special_tokens: bool | None = None
    use_activation: bool | None = None
    priority: Int64 | None = None
    cache_salt: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    mm_processor_kwargs: dict[str, Any] | None = None


class InputBody(PoolingBody):
    """Texts, token ids, or a conversation."""

    input: Input | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=16384)] | None = None
    add_generation_prompt: bool | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class EmbeddingRequest(InputBody):
    """POST /v1/embeddings."""

    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=65536)] | None = None
    user: str | None = None


class ClassifyRequest(InputBody):
    """POST /classify."""


class PoolingRequest(InputBody):
    """POST /pooling."""

    task: Literal["embed", "classify", "score", "token_embed", "token_classify", "plugin"] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=65536)] | None = None


class ScoreRequest(PoolingBody):
    """POST /score: one text with one, one with many, or pairs; by vLLM's newer or older names."""

    queries: Document | Documents | None = None
    documents: Document | Documents | None = None
    text_1: Document | Documents | None = None
    text_2: Document | Documents | None = None


class RerankRequest(PoolingBody):
    """POST /rerank, as Jina and Cohere have it."""

    query: Document
    documents: Documents
    top_n: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    return_documents: bool | None = None
    max_tokens_per_doc: Annotated[int, Field(ge=0, lt=2**31)] | None = None
