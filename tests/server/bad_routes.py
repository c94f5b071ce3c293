"""Every route, and why a row of the reliability table does not apply to it. A route that is not here fails the test.

All rows without a reason apply, and must have cases.
"""

from __future__ import annotations

from typing import Any

from server.batches.schema import BatchRequest
from server.messages.schema import CountTokensRequest, MessagesRequest
from server.openai.chat_batch import BatchChatRequest
from server.openai.generate import GenerateRequest
from server.openai.schema import ChatRequest, CompletionRequest, DetokenizeRequest, TokenizeRequest
from server.pooling.schema import ClassifyRequest, EmbeddingRequest, PoolingRequest, RerankRequest, ScoreRequest
from server.responses.schema import ResponsesRequest
from server.routes.dev import AbortRequest, UpdateWeightsRequest
from tests.server.bad_rows import Target
from tests.server.harness import MODEL

type Reasons = dict[int, str]


def rows(*spans: int | range, why: str) -> Reasons:
    numbers = [number for span in spans for number in ([span] if isinstance(span, int) else span)]
    return dict.fromkeys(numbers, why)


MEDIA = rows(*range(36, 48), why="exempt for now: there are no media")
EXEMPT = {
    **MEDIA,
    **rows(51, why="exempt for now: there is no control port"),
    **rows(55, why="exempt for now: there are no adapters"),
    **rows(58, why="prompt_embeds: tests/server/test_prompt_embeds.py"),
}
ELSEWHERE = {
    **rows(29, 30, why="what a model says: tests of the tool and reasoning parsers"),
    **rows(59, why="a gate on the sources: tests/test_layout.py"),
    **rows(60, why="start-up: tests/text/test_tokenizer.py, tests/weights"),
    **rows(61, why="start-up: tests/weights/test_damage.py, tests/faults"),
}
NO_ANSWERS = rows(53, why="no stored answers behind this route")
NO_BATCH = rows(57, why="no batch files behind this route")
NO_POOLING = rows(56, why="no embeddings or documents behind this route")
COMMON = {**EXEMPT, **ELSEWHERE, **NO_ANSWERS, **NO_BATCH, **NO_POOLING}

NO_BODY = {
    **COMMON,
    **rows(*range(8, 35), 48, why="takes no body"),
    **rows(54, why="names no model"),
}
READS_ONLY = {**NO_BODY, **rows(50, why="reads constants: nothing can fail")}
TEXT_ONLY = {
    **COMMON,
    **rows(*range(11, 17), *range(18, 29), 31, 34, why="generates nothing: it has none of these fields"),
}
STORED = {  # nothing is stored under the address: 404, before and after
    **NO_BODY,
    **rows(50, why="asks nothing of the engine"),
}
del STORED[53]
POOLS = {
    **COMMON,
    **rows(11, 13, 14, 15, 16, *range(18, 29), 31, 32, 33, why="generates nothing: it has none of these fields"),
    **rows(50, why="asks nothing of the engine until a pooling model is there"),
}
del POOLS[56]
PAIRS_ONLY = {**POOLS, **rows(12, 17, why="takes texts in fields of their own"), **rows(9, why="numbers in row 10")}
NO_DOCUMENTS = rows(56, why="has no dimensions and no documents")
STOPS_ALL = rows(5, 49, 52, why="a good request stops everybody, canaries too: tests/server/test_pause.py")
MESSAGES = [{"role": "user", "content": "hello world"}]
COMPLETION: dict[str, Any] = {"prompt": "hello world", "max_tokens": 2}
RESPONSE: dict[str, Any] = {"input": "hello world", "max_output_tokens": 2}
CLAUDE: dict[str, Any] = {"messages": MESSAGES, "max_tokens": 2}
BATCH: dict[str, Any] = {
    "input_file_id": "file-0",
    "endpoint": "/v1/chat/completions",
    "completion_window": "24h",
}
CHAT: dict[str, Any] = {"messages": MESSAGES, "max_tokens": 2}
GENERATE: dict[str, Any] = {"token_ids": [5, 6], "sampling_params": {"max_tokens": 2}}
NO_MESSAGES = rows(28, 31, 32, 33, why="has no messages")
NO_PROMPT = rows(12, 17, why="has no prompt of tokens")

CLASSES: dict[str, tuple[Target, Reasons]] = {
    target.name: (target, reasons)
    for target, reasons in (
        (
            Target("POST", "/v1/completions", COMPLETION, CompletionRequest),
            {**COMMON, **NO_MESSAGES},
        ),
        (Target("POST", "/v1/chat/completions", CHAT, ChatRequest), {**COMMON, **NO_PROMPT}),
        (Target("POST", "/v1/completions/render", COMPLETION, CompletionRequest), {**COMMON, **NO_MESSAGES}),
        (Target("POST", "/v1/chat/completions/render", CHAT, ChatRequest), {**COMMON, **NO_PROMPT}),
        (Target("POST", "/invocations", COMPLETION, CompletionRequest), {**COMMON, **NO_MESSAGES}),
        (
            Target(
                "POST",
                "/v1/chat/completions/batch",
                {"messages": [MESSAGES], "max_tokens": 2},
                BatchChatRequest,
                hidden=("messages", "stream"),
            ),
            {**COMMON, **NO_PROMPT, **rows(33, why="takes lists of messages: tests/server/test_chat_batch.py")},
        ),
        (
            Target("POST", "/inference/v1/generate", GENERATE, GenerateRequest),
            {**COMMON, **rows(*range(11, 34), why="its parameters lie deeper: tests/server/test_render.py")},
        ),
        (
            Target("POST", "/tokenize", {"messages": MESSAGES}, TokenizeRequest),
            {**TEXT_ONLY, **rows(9, 10, 17, why="takes no numbers")},
        ),
        (
            Target("POST", "/detokenize", {"tokens": [5, 6]}, DetokenizeRequest),
            {**TEXT_ONLY, **rows(9, 10, 32, 33, why="takes token ids only: row 17")},
        ),
        (
            Target("POST", "/v1/responses", RESPONSE, ResponsesRequest, hidden=("prompt", "max_tokens")),
            {**COMMON, **rows(17, 31, 33, why="takes texts and items: tests/server/test_responses.py")},
        ),
        (Target("GET", "/v1/responses/{response_id}", address="/v1/responses/resp_0", good=(404,)), STORED),
        (Target("DELETE", "/v1/responses/{response_id}", address="/v1/responses/resp_0", good=(404,)), STORED),
        (
            Target("POST", "/v1/responses/{response_id}/cancel", address="/v1/responses/resp_0/cancel", good=(404,)),
            STORED,
        ),
        (
            Target("POST", "/v1/messages", CLAUDE, MessagesRequest),
            {**COMMON, **rows(12, 17, 31, why="has no prompt and takes no template")},
        ),
        (
            Target("POST", "/v1/messages/count_tokens", {"messages": MESSAGES}, CountTokensRequest),
            {**COMMON, **rows(*range(9, 27), 27, 31, 34, why="generates nothing: it has none of these fields")},
        ),
        (
            Target("POST", "/v1/embeddings", {"input": "hello"}, EmbeddingRequest, good=(400,)),
            POOLS,
        ),
        (Target("POST", "/pooling", {"input": "hello"}, PoolingRequest, good=(400,)), POOLS),
        (Target("POST", "/classify", {"input": "hello"}, ClassifyRequest, good=(400,)), {**POOLS, **NO_DOCUMENTS}),
        *(
            (Target("POST", path, {"text_1": "a", "text_2": "b"}, ScoreRequest, good=(400,)), PAIRS_ONLY)
            for path in ("/score", "/v1/score")
        ),
        *(
            (Target("POST", path, {"query": "a", "documents": ["b"]}, RerankRequest, good=(400,)), PAIRS_ONLY)
            for path in ("/rerank", "/v1/rerank", "/v2/rerank")
        ),
        (
            Target("POST", "/v1/batches", BATCH, BatchRequest, good=(400,)),
            {
                **COMMON,
                **rows(*range(9, 34), 48, 54, why="takes three names: tests/server/test_batches.py"),
                **rows(34, why="names no model and has no texts"),
                **rows(50, why="asks nothing of the engine"),
            },
        ),
        (Target("GET", "/v1/batches"), {**NO_BODY, **rows(50, why="asks nothing of the engine")}),
        (Target("GET", "/v1/batches/{batch_id}", address="/v1/batches/batch_0", good=(404,)), STORED),
        (Target("POST", "/v1/batches/{batch_id}/cancel", address="/v1/batches/batch_0/cancel", good=(404,)), STORED),
        (
            Target("POST", "/v1/files", good=(415,)),
            {**NO_BODY, **rows(50, why="asks nothing of the engine")},  # its forms: tests/server/test_files.py
        ),
        (Target("GET", "/v1/files"), {**NO_BODY, **rows(50, why="asks nothing of the engine")}),
        (Target("GET", "/v1/files/{file_id}", address="/v1/files/file-0", good=(404,)), STORED),
        (Target("DELETE", "/v1/files/{file_id}", address="/v1/files/file-0", good=(404,)), STORED),
        (Target("GET", "/v1/files/{file_id}/content", address="/v1/files/file-0/content", good=(404,)), STORED),
        (Target("GET", "/v1/models"), READS_ONLY),
        (Target("GET", "/v1/models/{model:path}", address=f"/v1/models/{MODEL}"), READS_ONLY),
        (Target("GET", "/health"), {**NO_BODY, **rows(1, 2, 4, why="open to everybody: probes have no key")}),
        (Target("GET", "/ready"), {**NO_BODY, **rows(1, 2, 4, why="open to everybody: probes have no key")}),
        (
            Target("GET", "/"),
            {**READS_ONLY, **rows(1, 2, 4, why="open to everybody: the page asks for the key")},
        ),
        (Target("GET", "/tokenizer_info"), NO_BODY),
        *((Target("POST", path), NO_BODY) for path in ("/wake_up", "/resume", "/reset_prefix_cache")),
        *((Target("POST", path, good=(200, 400)), NO_BODY) for path in ("/start_profile", "/stop_profile")),
        *((Target("GET", path), NO_BODY) for path in ("/is_sleeping", "/is_paused")),
        *((Target("POST", path), {**NO_BODY, **STOPS_ALL}) for path in ("/sleep", "/pause")),
        (
            Target("POST", "/update_weights", {"path": "/not/there"}, UpdateWeightsRequest, good=(400,)),
            {**COMMON, **rows(*range(9, 35), 54, why="takes a path and nothing else: tests/server/test_dev_routes.py")},
        ),
        (
            Target("POST", "/abort_requests", {"request_ids": ["nobody"]}, AbortRequest),
            {
                **COMMON,
                **rows(*range(9, 35), 48, 54, why="takes ids and nothing else: tests/server/test_abort_requests.py"),
            },
        ),
        (Target("GET", "/ping"), NO_BODY),
        (Target("POST", "/ping"), NO_BODY),
        (Target("GET", "/version"), READS_ONLY),
        (Target("GET", "/load"), NO_BODY),
        (Target("GET", "/metrics"), NO_BODY),
        (Target("GET", "/openapi.json"), READS_ONLY),
        (Target("GET", "/docs"), READS_ONLY),
        (Target("GET", "/docs/oauth2-redirect"), READS_ONLY),
    )
}
