"""What the server cannot do yet. Its tests are written and must fail; who lands a capability deletes its line."""

PENDING = {
    "structured",  # response_format, structured_outputs, guided_*
    "tools",  # tools, tool_choice, parallel_tool_calls
    "responses",  # /v1/responses
    "messages",  # /v1/messages and count_tokens
    "pooling",  # /v1/embeddings, /rerank, /score, /classify answer (with 400 until a pooling model is loaded)
    "batches",  # /v1/files, /v1/batches
}
