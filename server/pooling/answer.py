"""Answering bodies of the pooling routes. No pooling model can be loaded yet, so they say which kind they need."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from server.errors import ApiError, bad_request
from server.pooling.schema import (
    MAX_INPUTS,
    ClassifyRequest,
    EmbeddingRequest,
    InputBody,
    PoolingBody,
    PoolingRequest,
    RerankRequest,
    ScoreRequest,
)
from server.serving import Serving

# path -> body, the kind of model that answers it
ROUTES: dict[str, tuple[type[PoolingBody], str]] = {
    "/v1/embeddings": (EmbeddingRequest, "an embedding model"),
    "/pooling": (PoolingRequest, "a pooling model"),
    "/classify": (ClassifyRequest, "a sequence classification model"),
    "/score": (ScoreRequest, "a cross-encoder or an embedding model"),
    "/v1/score": (ScoreRequest, "a cross-encoder or an embedding model"),
    "/rerank": (RerankRequest, "a reranking model (a cross-encoder)"),
    "/v1/rerank": (RerankRequest, "a reranking model (a cross-encoder)"),
    "/v2/rerank": (RerankRequest, "a reranking model (a cross-encoder)"),
}


def answer_pooling(serving: Serving, body: PoolingBody, path: str) -> Response:
    """Answer a body of one of these routes. Raises ApiError, naming the field that is wrong or the kind of model."""
    serving.check_model(body.model)
    if body.mm_processor_kwargs:
        raise bad_request("mm_processor_kwargs is not served by this version; leave it out.", "mm_processor_kwargs")
    if isinstance(body, InputBody):
        _check_input(body, serving.llm.info.vocab_size)
    elif isinstance(body, ScoreRequest):
        _check_pairs(body)
    raise ApiError(
        400,
        f"{path} needs {ROUTES[path][1]}; {serving.llm.model_name!r} generates text.",
        param="model",
        code="model_kind_not_supported",
    )


def _check_input(body: InputBody, vocab_size: int) -> None:
    if (body.input is None) == (body.messages is None):
        raise bad_request("Give either input or messages.", "input")
    if body.input is None:
        return
    inputs: list[Any] = body.input if isinstance(body.input, list) else [body.input]
    if inputs and isinstance(inputs[0], int):
        inputs = [inputs]
    if not 1 <= len(inputs) <= MAX_INPUTS:
        raise bad_request(f"input must hold 1 to {MAX_INPUTS} texts or prompts of token ids.", "input")
    for text in inputs:
        if not text:
            raise bad_request("input holds an empty text; give at least one token.", "input")
        if not isinstance(text, str) and (min(text) < 0 or max(text) >= vocab_size):
            raise bad_request(f"input holds a token id outside the vocabulary (0 to {vocab_size - 1}).", "input")


def _check_pairs(body: ScoreRequest) -> None:
    newer, older = (body.queries, body.documents), (body.text_1, body.text_2)
    pairs = [pair for pair in (newer, older) if pair != (None, None)]
    if len(pairs) != 1 or None in pairs[0]:
        raise bad_request("Give queries and documents, or text_1 and text_2.", "queries")
    first, second = ([side] if not isinstance(side, list) else side for side in pairs[0])
    if len(first) not in (1, len(second)):
        raise bad_request(
            f"{len(first)} and {len(second)} texts make no pairs; give one, or as many on both sides.", "queries"
        )
