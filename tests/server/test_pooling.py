"""Routes for pooling models: bodies are checked, then the kind of model that is missing is named."""

from __future__ import annotations

import openai
import pytest

from tests.fake_engine import FakeEngine
from tests.server.harness import client
from tests.server.scripted import openai_client

pytestmark = pytest.mark.anyio
FINE = [
    ("/v1/embeddings", {"input": "hello"}, "embedding"),
    ("/v1/embeddings", {"input": ["a", "b"], "encoding_format": "base64", "dimensions": 8}, "embedding"),
    ("/v1/embeddings", {"input": [1, 2]}, "embedding"),
    ("/v1/embeddings", {"input": [[1], [2]]}, "embedding"),
    ("/v1/embeddings", {"messages": [{"role": "user", "content": "a"}]}, "embedding"),
    ("/pooling", {"input": "hello", "task": "embed"}, "pooling"),
    ("/classify", {"input": "hello"}, "classification"),
    ("/score", {"text_1": "a", "text_2": ["b", "c"]}, "cross-encoder"),
    ("/v1/score", {"queries": ["a", "b"], "documents": ["c", "d"]}, "cross-encoder"),
    ("/rerank", {"query": "a", "documents": ["b"]}, "reranking"),
    ("/v1/rerank", {"query": "a", "documents": [{"text": "b"}], "top_n": 1}, "reranking"),
    ("/v2/rerank", {"query": "a", "documents": ["b"], "return_documents": True}, "reranking"),
]
BAD = [
    ("/v1/embeddings", {}, "input"),
    ("/v1/embeddings", {"input": ""}, "input"),
    ("/v1/embeddings", {"input": []}, "input"),
    ("/v1/embeddings", {"input": [[]]}, "input"),
    ("/v1/embeddings", {"input": ["a", 1]}, "input"),
    ("/v1/embeddings", {"input": ["a", ""]}, "input"),
    ("/v1/embeddings", {"input": ["a"] * 100_000}, "input"),
    ("/v1/embeddings", {"input": [-1]}, "input"),
    ("/v1/embeddings", {"input": [512]}, "input"),
    ("/v1/embeddings", {"input": [2**32 + 5]}, "input"),
    ("/v1/embeddings", {"input": "a", "dimensions": 0}, "dimensions"),
    ("/v1/embeddings", {"input": "a", "dimensions": 10**6}, "dimensions"),
    ("/v1/embeddings", {"input": "a", "encoding_format": "hex"}, "encoding_format"),
    ("/pooling", {"input": "a", "task": "dance"}, "task"),
    ("/pooling", {"input": "a", "mm_processor_kwargs": {"code_revision": "x"}}, "mm_processor_kwargs"),
    ("/classify", {"input": 3}, "input"),
    ("/score", {"text_1": "a"}, "queries"),
    ("/score", {"text_1": "a", "documents": ["b"]}, "queries"),
    ("/score", {"text_1": ["a", "b"], "text_2": ["c"]}, "queries"),
    ("/score", {"text_1": "", "text_2": "c"}, "text_1"),
    ("/rerank", {"query": "a", "documents": []}, "documents"),
    ("/rerank", {"query": "a", "documents": ["b"] * 100_000}, "documents"),
    ("/rerank", {"query": "", "documents": ["b"]}, "query"),
    ("/rerank", {"documents": ["b"]}, "query"),
    ("/v2/rerank", {"query": "a", "documents": ["b"], "top_n": -1}, "top_n"),
    ("/rerank", {"query": "a", "documents": ["b"], "truncate_prompt_tokens": -2}, "truncate_prompt_tokens"),
]


@pytest.mark.parametrize(("path", "body", "kind"), FINE)
async def test_what_is_well_formed_learns_the_kind_of_model(path: str, body: dict, kind: str) -> None:
    async with client() as http:
        answer = await http.post(path, json=body)
        other = await http.post(path, json={**body, "model": "other"})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == ("model", "model_kind_not_supported")
    assert kind in error["message"]
    assert other.status_code == 404


@pytest.mark.parametrize(("path", "body", "param"), BAD)
async def test_what_is_not_names_the_field(path: str, body: dict, param: str) -> None:
    async with client() as http:
        answer = await http.post(path, json=body)
    assert answer.status_code == 400
    assert (answer.json()["error"]["param"] or "").split(".")[0] == param, answer.text


async def test_openai_python_raises_a_bad_request() -> None:
    async with openai_client(FakeEngine()) as ai:
        with pytest.raises(openai.BadRequestError, match="embedding model"):
            await ai.embeddings.create(model="fake", input="hello")
